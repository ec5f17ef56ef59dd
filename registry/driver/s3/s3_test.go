package s3

import (
	"fmt"
	"sync"
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

// TestFoldersComeAndGo writes and deletes files in folders that begin alike: what one deletes takes no folder from another, also
// where the server keeps folders.
func TestFoldersComeAndGo(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, s *testbench.S3) {
		d := newDriver(t, options(s))
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				for k := range 40 {
					path := fmt.Sprintf("a/b/%d/%d", n, k)
					if err := d.WriteFile(t.Context(), path, small); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					if err := d.Delete(t.Context(), path); err != nil {
						t.Errorf("delete: %v", err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}
