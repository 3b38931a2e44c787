#!/bin/sh
# the tree itself: layers, the README's map, file lengths, words that do not belong
. tests/lib/suite.sh
check 'tree: layers point one way' sh tests/layers
check 'tree: the map holds: paths that pages name exist, every file says what it is for' sh tests/map
check 'tree: the rules of style that can be counted' sh tests/style
