# Around a run: its studies are held by it alone, and written into MLflow at its end, however it ends.
from attribution.provenance import settle
from attribution.tracking import handlers
from attribution.workflow import exclusive, polling


onstart:
    polling.unhurried(workflow.scheduler)
    with one_line():
        running = set(handlers.studies(workflow.dag.needrun_jobs()))
        exclusive.hold(Path(), running, workflow.executor_plugin.name)
        settle.ready(Path(), running)


onsuccess:
    handlers.finish(handlers.studies(workflow.dag.jobs))


onerror:
    handlers.finish(handlers.studies(workflow.dag.jobs), handlers.studies(workflow.dag.needrun_jobs()))
