# Around a run: its studies are held by it alone, MLflow follows it where a server is named, and is written at its end.
from attribution.provenance import believe
from attribution.tracking import handlers
from attribution.workflow import commands, exclusive, polling

with one_line():
    commands.check(ROOT, workflow.rules)


onstart:
    polling.unhurried(workflow.scheduler)
    with one_line():
        running = {job.wildcards.study for job in workflow.dag.needrun_jobs() if "study" in job.wildcards.keys()}
        exclusive.hold(Path(), running, workflow.executor_plugin.name)
        believe.ready(Path(), running)
    handlers.start(list(STUDIES))


onsuccess:
    handlers.finish(list(STUDIES))


onerror:
    handlers.finish(list(STUDIES))
