package main

import (
	"gatehouse/configs"
	"gatehouse/registry/manifest"
)

// manifestPolicy says in the registry's words what the file asks of manifests. A list without platforms asks for all, as
// distribution has it (registry/storage/manifestlisthandler.go).
func manifestPolicy(cfg *configs.Config) manifest.Policy {
	p := manifest.Policy{Classes: cfg.Policy.Repository.Classes}
	if cfg.Validation.Off() {
		p.AnyURL, p.Sparse = true, true
		return p
	}
	v := cfg.Validation.Manifests
	// Distribution takes no URL where there are no lists. The specification wants layers from elsewhere taken, so here that
	// has to be asked for.
	p.AnyURL = !cfg.Validation.Enabled && len(v.URLs.Allow)+len(v.URLs.Deny) == 0
	p.AllowURLs, p.DenyURLs = v.URLs.Allow, v.URLs.Deny
	switch v.Indexes.Platforms {
	case "none":
		p.Sparse = true
	case "list":
		p.Sparse = len(v.Indexes.PlatformList) > 0
		for _, platform := range v.Indexes.PlatformList {
			p.Required = append(p.Required, manifest.Platform(platform))
		}
	}
	return p
}
