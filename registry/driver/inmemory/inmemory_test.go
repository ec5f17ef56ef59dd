package inmemory_test

import (
	"testing"

	"gatehouse/registry/driver"
	"gatehouse/registry/driver/drivertest"
	"gatehouse/registry/driver/inmemory"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Driver { return inmemory.New() })
}

func BenchmarkDriver(b *testing.B) {
	drivertest.Bench(b, func(*testing.B) driver.Driver { return inmemory.New() })
}
