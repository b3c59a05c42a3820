# Needs Go, git and make. Everything else is built from pinned Go modules into the user's cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# -trimpath for every go command: the Go language plugin of pulumi compiles the program with it, and go keeps what it compiles with and
# without it apart. So build, tests, linters and `pulumi up` share one compiled copy of the clouds' SDKs, which takes minutes to make.
export GOFLAGS := $(filter-out -trimpath,$(shell go env GOFLAGS 2>/dev/null)) -trimpath

# Program:Debian package, of what tests and linters call besides Go.
PROGRAMS := git:git
# What the tests of the chain's real programs call. They need root: each program gets namespaces of its own.
PROGRAMS_CHAIN := $(PROGRAMS) busybox:busybox fail2ban-client:fail2ban ip:iproute2 nft:nftables python3:python3 redis-server:redis-server unshare:util-linux
# What the tests of the machine's real programs call; as root too.
PROGRAMS_HOST := $(PROGRAMS) aiosmtpd:python3-aiosmtpd busybox:busybox docker:docker.io dockerd:docker.io borg:borgbackup borgmatic:borgmatic chattr:e2fsprogs cloud-init:cloud-init fail2ban-client:fail2ban findmnt:util-linux \
	fusermount3:fuse3 ip:iproute2 iptables:iptables logrotate:logrotate mount:mount mount.davfs:davfs2 nft:nftables nsenter:util-linux openssl:openssl \
	prometheus-node-exporter:prometheus-node-exporter promtool:prometheus python3:python3 qbittorrent-nox:qbittorrent-nox rclone:rclone setpriv:util-linux sqlite3:sqlite3 ssh:openssh-client sshd:openssh-server systemd-analyze:systemd \
	unattended-upgrade:unattended-upgrades unshare:util-linux visudo:sudo wg:wireguard-tools wireguard-go:wireguard-go
# What the tests of a rehearsal's programs call; they need root, for namespaces and a Docker engine of their own.
PROGRAMS_REHEARSAL := $(PROGRAMS) borg:borgbackup busybox:busybox bwrap:bubblewrap curl:curl docker:docker.io dockerd:docker.io ip:iproute2 iptables:iptables mount:mount nft:nftables python3:python3 qemu-img:qemu-utils \
	qemu-system-x86_64:qemu-system-x86 rclone:rclone rsync:rsync setpriv:util-linux sftp:openssh-client ssh:openssh-client unshare:util-linux
# What the virtual machine's disk is made with besides. debootstrap needs root.
PROGRAMS_MACHINE := $(PROGRAMS_REHEARSAL) debootstrap:debootstrap mkfs.ext4:e2fsprogs sfdisk:fdisk

# Where up-simulated, preview-simulated and destroy-simulated keep their clouds.
STATE ?= .build/simulation
# Further arguments of homelab: make preview ARGS=--json
ARGS ?=

.PHONY: help preview test test-config test-chain test-host test-machine test-machine-full test-series test-readme test-browser test-images lint bench up-simulated preview-simulated destroy-simulated ci clean clean-tools bin/homelab setup

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

preview: bin/homelab ## Preview the whole deployment on simulated clouds; needs no account
	@bin/homelab preview --simulate $(ARGS)

test: setup ## Run all tests
	@.ci/test

test-config: ## Let the real programs judge the rendered files; needs root
	@.ci/setup $(PROGRAMS_CHAIN)
	@.ci/test-chain ./tests/config/...

test-chain: ## Run the real programs on the rendered files and attack the chain; needs root
	@.ci/setup $(PROGRAMS_CHAIN)
	@.ci/test-chain ./tests/chain/...

test-host: ## Run the machine's real programs on the rendered files: first boot, mount, backup; needs root
	@.ci/setup $(PROGRAMS_HOST)
	@{ [ -c /dev/fuse ] && : <>/dev/fuse; } 2>/dev/null || echo "FUSE is not permitted here: no media mount is tried, only the mount's options, in rclone's VFS without the kernel"
	@go run ./internal/toolchain/tool pulumi version >/dev/null
	@go test -tags host -timeout 60m ./tests/host

test-machine: ## Run what a rehearsal's machine meets: network, tailnet, Storage Boxes, engine; needs root
	@.ci/setup $(PROGRAMS_REHEARSAL)
	@go -C internal/machine test -count=1 -timeout 30m ./...

test-machine-full: test-machine ## … and boot virtual machines: the first boot, then the whole deployment, and what happens to servers
	@.ci/setup $(PROGRAMS_MACHINE)
	@go -C internal/machine test -tags machine -count=1 -timeout 120m ./firstboot ./internal/engine ./internal/lab
	@go test -tags machine -count=1 -v -timeout 12h ./tests/machine

test-series: setup ## Ask a real Prometheus for every series that a dashboard or an alert names
	@go -C tests/dashboards test -tags series -count=1 -timeout 20m ./...

test-readme: bin/homelab ## Follow the README: every command that needs no account, in a clean copy with an empty home
	@go test -tags readme -count=1 -timeout 20m ./tests/readme

test-browser: setup ## Open the audit's page, the start page and two people's services in a real browser; needs root
	@.ci/setup chromium:chromium $(PROGRAMS_CHAIN)
	@go run ./internal/toolchain/tool pulumi version >/dev/null
	@go test -tags browser -count=1 -run InABrowser -timeout 10m ./tests/policy
	@go -C images/home test -tags browser -count=1 -run InABrowser -timeout 10m ./internal/web
	@go test -tags browser,chain -count=1 -run InABrowser -timeout 20m ./tests/chain ./tests/chain/internal/chromium

test-images: setup ## Let the program in each pinned image check its rendered files; needs Docker and the internet
	@go run ./internal/toolchain/tool pulumi version >/dev/null
	@go test -tags images -count=1 -timeout 60m ./tests/images

lint: setup ## Check formatting, go vet and staticcheck
	@.ci/lint

bench: bin/homelab ## Measure preview and up, the chain, and the media mount (docs/performance.md); needs root
	@.ci/setup $(PROGRAMS_CHAIN) $(PROGRAMS_HOST)
	@go test -run '^$$' -bench . -benchtime 5x ./cmd/homelab
	@go test -tags chain -run '^$$' -bench . -benchtime 3x -timeout 30m ./tests/chain
	@go test -tags host -run '^$$' -bench . -benchtime 3x -timeout 30m ./tests/host

up-simulated: bin/homelab ## Deploy to simulated clouds and keep them in STATE (default .build/simulation)
	@bin/homelab up --simulate --state $(STATE) $(ARGS)

preview-simulated: bin/homelab ## Preview against the simulated clouds kept in STATE
	@bin/homelab preview --simulate --state $(STATE) $(ARGS)

destroy-simulated: bin/homelab ## Destroy the simulated deployment kept in STATE
	@bin/homelab destroy --simulate --state $(STATE) $(ARGS)

ci: ## Run what CI runs
	@.ci/run

clean: ## Remove what was built here and the simulation kept in .build
	rm -rf bin .build

clean-tools: ## Remove the built tools (Pulumi CLI, linters) from the user's cache
	rm -rf "$$(go run ./internal/toolchain/tool cache)"

bin/homelab: setup
	@go run ./internal/toolchain/tool build bin/homelab ./cmd/homelab

setup:
	@.ci/setup $(PROGRAMS)
