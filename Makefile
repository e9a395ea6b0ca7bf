# Every goal does its own set-up first, and is quick when there is nothing to set up.
.PHONY: help demo test lint coverage bench

help:
	@echo "make demo      open napari on a photo with strokes and their soft labels"
	@echo "make test      run all tests and checks"
	@echo "make lint      run ruff and mypy alone"
	@echo "make coverage  measure the coverage of the tests without a window"
	@echo "make bench     compare with two peers on the gallery of images (GALLERY=folder)"

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
	@.venv/bin/python -m pytest tests --ignore=tests/gui --ignore=tests/packaging --cov --cov-report=term

bench:
	@scripts/bootstrap.sh dev
	@.venv/bin/python benchmarks/gallery.py $(if $(GALLERY),--data "$(GALLERY)")
