# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
#
# Real servers and clients for the integration suite, pinned, from the public package registries. Sourced;
# `install_components` installs what is missing into ${HEADRACE_COMPONENTS:-build/components}. The peers that
# the benchmark measures are installed by bench/peers/install.py, which needs the npm of `install_npm`.

HEADRACE_COMPONENTS="${HEADRACE_COMPONENTS:-$PWD/build/components}"
export HEADRACE_COMPONENTS

VERSITYGW_VERSION=v1.8.0
AWSCLI_VERSION=1.46.3

install_versitygw() {
    [ -x "$HEADRACE_COMPONENTS/bin/versitygw" ] && return
    if ! command -v go >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq golang >/dev/null
    fi
    mkdir -p "$HEADRACE_COMPONENTS/bin"
    GOBIN="$HEADRACE_COMPONENTS/bin" GOFLAGS=-mod=mod go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION"
}

install_npm() {
    command -v npm >/dev/null && return
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm >/dev/null
}

install_awscli() {
    [ -x "$HEADRACE_COMPONENTS/awscli/bin/aws" ] && return
    python3 -m venv "$HEADRACE_COMPONENTS/awscli"
    "$HEADRACE_COMPONENTS/awscli/bin/pip" install -q "awscli==$AWSCLI_VERSION"
}

# The pattern tests of Firehose ask a real Java what its formatter writes.
install_jdk() {
    command -v javac >/dev/null && return
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq default-jdk-headless >/dev/null
}

install_components() {
    mkdir -p "$HEADRACE_COMPONENTS"
    install_versitygw
    install_jdk
    install_npm
    install_awscli
    export PATH="$PATH:$HEADRACE_COMPONENTS/bin:$HEADRACE_COMPONENTS/awscli/bin"
}
