from lowdim.cli.jobs import Jobs, put_commands_on_path
from lowdim.cli.run_lock import hold_unless_held

put_commands_on_path()
JOBS = Jobs(config)
RESULTS = JOBS.run.results.as_posix()
OPTIONS = JOBS.options
PAGE_OPTIONS = JOBS.page_options


onstart:
    hold_unless_held(JOBS.run.results)
