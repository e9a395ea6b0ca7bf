# Every goal does its own set-up first, and is quick when there is nothing to set up.
.PHONY: help demo test lint coverage bench docs

help:
	@echo "make demo      open napari on a photo with strokes and their soft labels"
	@echo "make test      run all tests and checks"
	@echo "make lint      run ruff and mypy alone"
	@echo "make coverage  run all tests and say which lines they miss"
	@echo "make bench     measure the solver beside its peers, into docs/benchmarks.md (GALLERY=folder adds the gallery)"
	@echo "make docs      draw the figures of the documentation, and take its pictures from the running program"

demo:
	@scripts/bootstrap.sh demo
	@QT_API=$${QT_API:-pyqt6} .venv/bin/napari-softseg demo

test:
	@scripts/bootstrap.sh dev
	@scripts/test.sh

lint:
	@scripts/bootstrap.sh dev
	@scripts/lint.sh

coverage:
	@scripts/bootstrap.sh dev
	@rm -f .coverage
	@PYTEST_ADDOPTS="--cov --cov-append --cov-report=" scripts/test.sh
	@.venv/bin/python -m coverage report

bench:
	@scripts/bootstrap.sh dev
	@.venv/bin/python benchmarks/run.py $(if $(GALLERY),--gallery "$(GALLERY)")

docs:
	@scripts/bootstrap.sh dev
	@scripts/docs.sh
