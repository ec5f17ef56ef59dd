package s3

import (
	"testing"
	"time"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/testbench"
)

// servers are what the driver is tested against.
var servers = map[string]func(testing.TB) *testbench.S3{
	"versitygw": testbench.StartVersityGW,
	"minio":     testbench.StartMinIO,
}

const testDelay = 5 * time.Millisecond

// options are those of a test's driver over a new bucket.
func options(s *testbench.S3) Options {
	return Options{
		AccessKey: s.AccessKey, SecretKey: Secret(s.SecretKey), RegionEndpoint: s.Endpoint, Bucket: s.NewBucket(), ChunkSize: minPart,
	}
}

func newDriver(t testing.TB, o Options) *Driver {
	t.Helper()
	d, err := open(t.Context(), o, testDelay)
	must(t, err)
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDriver runs the contract.
func TestDriver(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			drivertest.Run(t, func(t *testing.T) driver.Driver { return newDriver(t, options(s)) })
		})
	}
}

func BenchmarkDriver(b *testing.B) {
	for name, start := range servers {
		b.Run(name, func(b *testing.B) {
			s := start(b)
			drivertest.Bench(b, func(b *testing.B) driver.Driver {
				o := options(s)
				o.ChunkSize = 0
				return newDriver(b, o)
			})
		})
	}
}
