# The two commands of the README, and what developers run. `make help` lists the targets.

IMGRAPH := target/release/imgraph
FMT := cargo fmt -- --config imports_granularity=Module,group_imports=StdExternalCrate
SECONDS := 600

.PHONY: help demo test fuzz build lint fmt

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

demo: ## build this repository's own images/ with imgraph
	@scripts/install mmdebstrap buildah
	cargo build --release --quiet
	$(IMGRAPH) rebuild --changed

test: ## everything that the suite needs, engines too, then the whole suite
	@scripts/install buildah busybox-static git curl iproute2 strace
	tests/engines/engines run cargo test --quiet

fuzz: ## feed all fuzz targets for SECONDS each (600)
	@scripts/fuzz $(SECONDS)

build: ## build imgraph in release mode
	cargo build --release

lint: ## formats and lints, the fuzz targets too, as CI does
	$(FMT) --check
	cargo clippy --all-targets --quiet -- -D warnings
	@scripts/install g++
	cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir target

fmt: ## format the code
	$(FMT)
