#!/bin/sh
# unit tests, one program for each source file, and the kept fuzz corpora replayed
. tests/lib/suite.sh
build "$BUILD"
meson_tests "$BUILD" unit
