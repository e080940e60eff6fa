"""The smallest client: submits a job and prints its result."""

import jobhall

with jobhall.Client() as client:
    job = client.jobs.submit("greet", {"name": "Ada"})
    print(client.jobs.wait_for_job(job.id, timeout=30).result)
