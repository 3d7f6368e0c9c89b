# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
#
# Real servers and clients for the integration suite and the peers in bench/, pinned, from the public
# package registries. Sourced; `install_components` installs what is missing into
# ${HEADRACE_COMPONENTS:-build/components}.

HEADRACE_COMPONENTS="${HEADRACE_COMPONENTS:-$PWD/build/components}"
export HEADRACE_COMPONENTS

VERSITYGW_VERSION=v1.8.0
KINESALITE_VERSION=3.3.3
MINISTACK_VERSION=1.5.33
AWSCLI_VERSION=1.46.3

install_versitygw() {
    [ -x "$HEADRACE_COMPONENTS/bin/versitygw" ] && return
    if ! command -v go >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq golang >/dev/null
    fi
    mkdir -p "$HEADRACE_COMPONENTS/bin"
    GOBIN="$HEADRACE_COMPONENTS/bin" GOFLAGS=-mod=mod go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION"
}

install_kinesalite() {
    [ -d "$HEADRACE_COMPONENTS/kinesalite/node_modules/kinesalite" ] && return
    if ! command -v npm >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm >/dev/null
    fi
    mkdir -p "$HEADRACE_COMPONENTS/kinesalite"
    npm install --silent --no-audit --no-fund --prefix "$HEADRACE_COMPONENTS/kinesalite" "kinesalite@$KINESALITE_VERSION"
}

install_ministack() {
    [ -x "$HEADRACE_COMPONENTS/ministack/bin/python" ] && return
    python3 -m venv "$HEADRACE_COMPONENTS/ministack"
    "$HEADRACE_COMPONENTS/ministack/bin/pip" install -q "ministack[full]==$MINISTACK_VERSION"
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
    install_kinesalite
    install_ministack
    install_awscli
    export PATH="$PATH:$HEADRACE_COMPONENTS/bin:$HEADRACE_COMPONENTS/awscli/bin"
}
