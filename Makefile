# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Everything is installed below .build/; nothing is asked, nothing outside the checkout is touched.
PYTHON ?= python3

.PHONY: help demo test test-full bench lint reference clean

help:
	@echo "make demo       push and pull an image on three hosts of this machine"
	@echo "make test       all that a change must pass"
	@echo "make test-full  the same on every Python of this machine"
	@echo "make bench      throughput, deltas and memory beside the limits of this machine"
	@echo "make lint       the static checks alone"
	@echo "make reference  write the description of the server's API anew"

demo:
	tests/demo/run

test:
	$(PYTHON) tests/tools/run.py test

test-full:
	$(PYTHON) tests/tools/run.py full

bench:
	tests/bench/run

lint:
	$(PYTHON) tests/tools/run.py lint

reference:
	$(PYTHON) tests/tools/run.py reference

clean:
	rm -rf .build
