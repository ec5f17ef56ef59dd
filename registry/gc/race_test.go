//go:build race

package gc_test

// stride is how far apart the points are at which something happens in tests that try all of them: the race detector makes
// each many times as slow, and without it they are all tried.
const stride = 23
