# Around a run: its studies are held by it alone, and written into MLflow at its end, however it ends.
from attribution.provenance import believe
from attribution.tracking import handlers
from attribution.workflow import commands, exclusive, scheduler_polling

with one_line():
    commands.check(ROOT, workflow.rules)


onstart:
    scheduler_polling.drop_default_rate_limit(workflow.scheduler)
    with one_line():
        running = set(handlers.studies(workflow.dag.needrun_jobs()))
        exclusive.hold(Path(), running, workflow.executor_plugin.name)
        believe.ready(Path(), running)


onsuccess:
    handlers.finish(handlers.studies(workflow.dag.jobs))


onerror:
    handlers.finish(handlers.studies(workflow.dag.jobs), handlers.studies(workflow.dag.needrun_jobs()))
