//go:build race

package main_test

// raceDetector tells whether the tests run with the race detector; then the
// program that they start has it too.
const raceDetector = true
