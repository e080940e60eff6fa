"""Submits the generation of an article about a name that a detection has found, and prints the article."""

from __future__ import annotations

import argparse
import sys

import jobhall
from examples.detection.library import Library
from examples.detection.submit import show_progress
from examples.generation.models import GenerationJob, GenerationParameters, submit_generation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source_resource_id")
    parser.add_argument("name", help="of an entity, such as London; its first annotation is the reference")
    parser.add_argument("--prompt")
    parser.add_argument("--title")
    parser.add_argument("--entity-types", nargs="+", metavar="TYPE")
    parser.add_argument("--language")
    options = parser.parse_args()
    library = Library.of_environment()
    annotations = library.annotations(options.source_resource_id)
    reference = next((found for found in annotations if found.name == options.name), None)
    if reference is None:
        parser.error(f"nothing is called {options.name!r}; names are {sorted({found.name for found in annotations})}")
    parameters = GenerationParameters(
        reference_id=reference.id,
        source_resource_id=options.source_resource_id,
        prompt=options.prompt,
        title=options.title,
        entity_types=tuple(options.entity_types) if options.entity_types else None,
        language=options.language,
    )

    with jobhall.Client() as client:
        submitted = submit_generation(client, parameters)
        show_progress(client, submitted.id)
        job = GenerationJob.read(client.jobs.get_job(submitted.id))
    if job.result is None:
        print(f"the job {job.status}: {job.error}", file=sys.stderr)
        return 1
    print(library.read(job.result.resource_id))
    print(f"{reference.id} is linked to {library.linked(reference)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
