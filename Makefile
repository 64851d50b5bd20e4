# Two commands do everything: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help setup wheel wheelhouse zipapp test-deploy test-deploy-short test-slow demo demo-heal heal rebalance test check quick properties bench fuzz sim bulk bench-etcd bench-append chaos-masters leader-kills append-kills power-cuts attacks many-files format clean

help:
	@echo "make demo    a real file into a three-master cluster and back, through the loss of the leader"
	@echo "make demo-heal  a cluster that heals itself, told for newcomers: every claim is checked"
	@echo "make test    everything that must pass: types, lint, layers, tests (what CI runs)"
	@echo "make check   types, lint, layers, architecture only"
	@echo "make quick   the tests that start no processes"
	@echo "make properties  tests of what holds for all inputs, with inputs that no run had before"
	@echo "make bench   put, get, create, tree and failover beside the floor programs"
	@echo "make bench-etcd  durable commands and reads beside a 3-member etcd, which must be installed"
	@echo "make bench-append PEERS=DIR [ROUNDS=3]  appends beside MooseFS and GlusterFS, started by the scripts in DIR"
	@echo "make fuzz    the consensus fuzzer, longer (SEEDS=5000)"
	@echo "make sim     whole masters in virtual time, WHAT=cluster: with data (SEEDS=500, or SEED=n again)"
	@echo "make chaos-masters  real masters through kills, cuts, full disks, clock steps (SECONDS=300)"
	@echo "make many-files     what a million files cost the masters, beside 10,000 (FILES=1000000)"
	@echo "make leader-kills  200 kills of the leader under load, planned restarts, replacements"
	@echo "make append-kills  records of many writers through kills, each exactly once (SECONDS=60, SEED=1)"
	@echo "make rebalance  uneven servers evened out under load, with kills: plan against outcome"
	@echo "make heal    servers, racks, disks, links and leaders lost under load: how fast all is whole"
	@echo "make power-cuts  power cuts and failing disks below the masters, in a model and real (CUTS=30)"
	@echo "make attacks  hostile clients at every port of a closed cluster: refused, told of, harmless"
	@echo "make wheel   the wheel of the last commit in dist/, the same bytes from every build"
	@echo "make wheelhouse  with all wheels that it needs, for hosts without an index"
	@echo "make zipapp  gfsctl in one file, dist/gfsctl.pyz"
	@echo "make test-slow  tests that wait for minutes: the end of a killed client's claims"
	@echo "make test-deploy  booted Debian hosts: units, playbooks (root; apt: systemd-container debootstrap; minutes)"
	@echo "make test-deploy-short  of these, only a cluster from nothing by site.yml"
	@echo "make bulk    three masters beside full-speed bulk writers (SECONDS=3600)"

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gfs-ha needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(STAMP)

setup: $(STAMP)

# What is installed on hosts (docs/install.md).
wheel: setup
	$(BIN)/python deploy/packaging/build.py wheel

wheelhouse: setup
	$(BIN)/python deploy/packaging/build.py wheelhouse

zipapp: setup
	$(BIN)/python deploy/packaging/build.py zipapp
	GFS_ZIPAPP=dist/gfsctl.pyz $(BIN)/python -m pytest tests/deploy/test_zipapp.py

demo: setup
	$(BIN)/python benchmarks/demo.py

demo-heal: setup
	$(BIN)/python benchmarks/demo_heal.py

heal: setup
	$(BIN)/python benchmarks/heal.py

rebalance: setup
	$(BIN)/python benchmarks/rebalance.py --kill

check: setup
	$(BIN)/ruff format --check gfs_ha tests benchmarks deploy
	$(BIN)/ruff check gfs_ha tests benchmarks deploy
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_architecture.py

quick: setup
	$(BIN)/python -m pytest -m 'not processes'

# Needs root and Debian's systemd-container, debootstrap, iproute2, openssh-client. The image of the
# hosts is made once (about 70 s) and kept in ~/.cache/gfs-ha/lab (GFS_LAB for another place).
test-deploy: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deploy]'
	GFS_TEST_DEPLOY=1 $(BIN)/python -m pytest -s tests/deploy

# A cluster from nothing by site.yml, its second run, a restart, a power cut.
test-deploy-short: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deploy]'
	GFS_TEST_DEPLOY=1 $(BIN)/python -m pytest tests/deploy/test_site.py

# What takes minutes by itself: the claims of a client that was killed.
test-slow: setup
	GFS_TEST_SLOW=1 $(BIN)/python -m pytest tests/processes/test_orphans.py

# Most tests wait for processes: two files at a time, each with processes and ports of its own.
# Compiled before: where PYTHONDONTWRITEBYTECODE is set, each of the many daemons would compile all
# of its modules itself (a master: 0.9 s of CPU instead of 0.5 s).
test: WORKERS ?= 2
test: check
	$(BIN)/python -m compileall -q gfs_ha tests benchmarks
	$(BIN)/python -m pytest --ignore tests/test_architecture.py \
		-n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What holds for all inputs, with new ones each time; `make test` takes the same ones always.
properties: setup
	$(BIN)/python -m pytest -m 'not processes' --hypothesis-profile search \
		$$(grep -rl '@given' tests)

SEEDS ?= 5000
fuzz: setup
	PYTHONHASHSEED=0 $(BIN)/python -m gfs_ha.sim.consensus --seeds $(SEEDS)

sim: SEEDS = 500
sim: WHAT ?= masters
sim: setup
	PYTHONHASHSEED=0 $(BIN)/gfsctl admin sim $(if $(SEED),replay $(SEED),run --seeds $(SEEDS)) --what $(WHAT)

bulk: SECONDS ?= 3600
bulk: setup
	$(BIN)/python benchmarks/beside_bulk.py --seconds $(SECONDS)

# SEED=n repeats a run's faults; without it they are new ones.
many-files: FILES ?= 1000000
many-files: setup
	$(BIN)/python benchmarks/many_files.py --files $(FILES)

chaos-masters: SECONDS ?= 300
chaos-masters: setup
	$(BIN)/python benchmarks/chaos_masters.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# KILLS=n of the leader, of ours and of an etcd where one is installed.
leader-kills: KILLS ?= 200
leader-kills: setup
	$(BIN)/python benchmarks/leader_kills.py --kills $(KILLS)

# SHORT=1 leaves out what takes long (about 9 minutes).
attacks: setup
	$(BIN)/python benchmarks/attacks.py $(if $(SHORT),--short)

append-kills: SECONDS ?= 60
append-kills: setup
	$(BIN)/python benchmarks/append_kills.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# SEEDS=n recorded runs of which every crash point is opened; CUTS=n of real disks (needs root).
power-cuts: SEEDS = 3
power-cuts: CUTS ?= 30
power-cuts: setup
	$(BIN)/python benchmarks/power_cuts.py --seeds $(SEEDS) --cuts $(CUTS) $(if $(SEED),--seed $(SEED))

bench: setup
	$(BIN)/python benchmarks/suite.py

bench-etcd: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check grpcio
	$(BIN)/python benchmarks/beside_etcd.py

bench-append: ROUNDS ?= 3
bench-append: setup
	$(BIN)/python benchmarks/beside_append.py --peers $(PEERS) --rounds $(ROUNDS)

format: setup
	$(BIN)/ruff format gfs_ha tests benchmarks deploy
	$(BIN)/ruff check --fix gfs_ha tests benchmarks deploy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
