//go:build !race

package gc_test

// stride is how far apart the points are at which something happens in tests that try all of them.
const stride = 1
