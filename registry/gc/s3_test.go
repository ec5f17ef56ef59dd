package gc_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/s3"
	"gatehouse/registry/gc"
	"gatehouse/registry/index"
	"gatehouse/registry/tree"
	"gatehouse/testbench"
)

// slowBackend is a driver whose backend may carry out what it did not answer.
type slowBackend struct{ driver.Driver }

func (slowBackend) Name() string { return "s3" }

// TestLateDeletion: a digest whose deletion got no answer stays one that is being deleted, so that nobody writes its bytes anew,
// until the deletion was repeated when the first could not be carried out any more; also after a restart.
func TestLateDeletion(t *testing.T) {
	for _, carriedOut := range []bool{true, false} {
		b := prepareBench(t, folder(t))
		b.wrapped = func(d driver.Driver) driver.Driver { return slowBackend{d} }
		b.open()
		b.image("a", "v1", configContent)
		b.blob("a", layerContent)
		b.must(202, "DELETE", "/v2/a/blobs/"+string(theLayer), "")
		b.drain()
		b.clock.pass(b.policy.Quarantine)
		b.faults.Set(drivertest.Fault{Match: drivertest.On("Delete"), Times: 1, Err: driver.ErrUnavailable, After: carriedOut})
		if r, err := b.gc.Cycle(t.Context(), gc.Request{}); err != nil || r.Errors != 1 || r.Deleted != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		waits := func(d time.Duration) {
			t.Helper()
			b.clock.pass(d)
			if r := b.cycle(); r.Deleted != 0 || b.marked() != 1 {
				t.Errorf("%+v", r)
			}
			_, err := b.index.Prepare(t.Context(), theLayer)
			wantErr(t, err, index.ErrCollected)
		}
		waits(0)
		waits(59 * time.Second)
		b.reopen() // it may have been asked for just before
		waits(time.Second)
		waits(58 * time.Second)
		b.clock.pass(time.Second)
		if r := b.cycle(); r.Deleted != 1 || b.marked() != 0 {
			t.Errorf("%+v", r)
		}
		b.push("a", "v2", configContent, layerContent)
		b.rest()
	}
}

// TestBucket collects in a bucket, while each kind of request fails now and then on its way, as often as the driver does not give up,
// and checks what is in it: all that tags need, and in the end nothing else.
func TestBucket(t *testing.T) {
	testbench.EachS3(t, func(t *testing.T, server *testbench.S3) {
		proxy, bucket := testbench.NewS3Proxy(t, server.Endpoint), server.NewBucket()
		b := prepareBench(t, folder(t))
		b.policy.Quarantine = 0
		b.wrapped = func(driver.Driver) driver.Driver {
			d, err := s3.New(t.Context(), s3.Options{
				AccessKey: server.AccessKey, SecretKey: s3.Secret(server.SecretKey), RegionEndpoint: proxy.URL, Bucket: bucket,
			})
			ok(t, err)
			t.Cleanup(func() { d.Close() })
			return d
		}
		b.open()
		b.image("a", "v1", configContent, layerContent)
		b.forget("a", b.image("a", "", "config of none", "layer of none", layerContent))
		b.blob("a", "never named")
		ok(t, b.driver.WriteFile(t.Context(), tree.Blob(theStray), []byte("stray")))
		b.clock.pass(b.policy.Grace)
		for i, fault := range []testbench.S3Fault{testbench.S3Busy, testbench.S3Dropped, testbench.S3Truncated, testbench.S3Works, testbench.S3Works} {
			proxy.Spoil(fault, i, 3)
			_ = b.attempt()
			proxy.Heal()
			b.served("a", "v1", b.acked["a:v1"])
			b.clock.pass(b.policy.Grace)
		}
		ok(t, b.attempt())
		left := slices.DeleteFunc(drivertest.Files(t, b.driver), func(file string) bool { return !strings.HasPrefix(file, tree.Blobs) })
		if len(left) != 3 {
			t.Errorf("the bucket has %q", left)
		}
		b.served("a", "v1", b.acked["a:v1"])
		ok(t, b.index.Verify(t.Context(), func(record, problem string) { t.Errorf("%s: %s", record, problem) }))
	})
}
