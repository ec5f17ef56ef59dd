package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// checkVersions warns of servers whose access control is known to be open: who may read one key there may read others.
func (s *Source) checkVersions(ctx context.Context, cli *clientv3.Client) {
	for _, endpoint := range s.opt.Endpoints {
		asking, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
		resp, err := cli.Status(asking, endpoint)
		cancel()
		if err != nil {
			continue // an endpoint that is down is reported when no other is up
		}
		if leaky(resp.Version) {
			s.log.Warn("etcd should be upgraded to 3.5.33, 3.6.14 or 3.7.1 at least: its access control can be bypassed (CVE-2026-73499)",
				"endpoint", endpoint, "version", resp.Version)
		}
	}
}

// leaky reports whether a server of this version has one of the advisories of 2026 on etcd's role-based access control. The
// branches before 3.5 are not maintained. A version that cannot be read is not judged.
func leaky(version string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n != 3 {
		return false
	}
	if major != 3 {
		return major < 3
	}
	fixed, maintained := map[int]int{5: 33, 6: 14, 7: 1}[minor]
	if !maintained {
		return minor < 5
	}
	return patch < fixed
}
