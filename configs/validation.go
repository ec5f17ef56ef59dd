package configs

import (
	"fmt"
	"regexp"
	"slices"
)

// defaultPage is distribution's default of catalog.maxentries and of tags.maxtags.
const defaultPage = 1000

// Catalog is the list of repositories.
type Catalog struct {
	// MaxEntries is the most that one answer lists; a client that asks for more is refused. Default 1000, also for less than 1.
	MaxEntries int `yaml:"maxentries"`
}

// Tags is the list of a repository's tags.
type Tags struct {
	// MaxTags is the most that one answer lists; a client that asks for more gets so many, and where the next are. Default
	// 1000, also for 0.
	MaxTags int `yaml:"maxtags"`
}

// Validation is what is asked of manifests that are pushed, beside their form and their blobs.
type Validation struct {
	// Disabled leaves out all that this section asks, unless Enabled, distribution's older key, is set too.
	Enabled   bool                `yaml:"enabled"`
	Disabled  bool                `yaml:"disabled"`
	Manifests ValidationManifests `yaml:"manifests"`
}

// Off reports whether nothing is asked.
func (v Validation) Off() bool { return v.Disabled && !v.Enabled }

// ValidationManifests is validation.manifests.
type ValidationManifests struct {
	URLs    ValidationURLs    `yaml:"urls"`
	Indexes ValidationIndexes `yaml:"indexes"`
}

// ValidationURLs is about the URLs from which clients fetch layers instead of from the registry. A URL must match one of Allow,
// if there are any, and none of Deny. With neither list all are allowed, or with validation.enabled, as with distribution in
// any case, none. Both hold regular expressions in the syntax of RE2, which match anywhere in a URL.
type ValidationURLs struct {
	Allow []string `yaml:"allow"`
	Deny  []string `yaml:"deny"`
}

// ValidationIndexes says which images of an index must be in the repository when the index is pushed.
type ValidationIndexes struct {
	// Platforms is all (the default), none, or list: those for one of PlatformList, or all where that is empty.
	Platforms    string     `yaml:"platforms"`
	PlatformList []Platform `yaml:"platformlist"`
}

// Platform is what an index says of an image; variants make no difference.
type Platform struct {
	Architecture string `yaml:"architecture"`
	OS           string `yaml:"os"`
}

// Policy is policy.
type Policy struct {
	Repository RepositoryPolicy `yaml:"repository"`
}

// RepositoryPolicy is policy.repository.
type RepositoryPolicy struct {
	// Classes, where there are any, are the kinds of images that may be pushed: image, plugin.
	Classes []string `yaml:"classes"`
}

// manifests checks what is asked of manifests, and how long lists are.
func (k *checker) manifests() {
	c := k.c
	if c.Tags.MaxTags < 0 {
		k.errorf("tags.maxtags", "negative")
	}
	v := c.Validation.Manifests
	for _, list := range []struct {
		path     string
		patterns []string
	}{{"validation.manifests.urls.allow", v.URLs.Allow}, {"validation.manifests.urls.deny", v.URLs.Deny}} {
		for i, pattern := range list.patterns {
			if _, err := regexp.Compile(pattern); err != nil {
				k.errorf(fmt.Sprintf("%s[%d]", list.path, i), "%s is not a regular expression of RE2", quoteText(pattern))
			}
		}
	}
	if p := v.Indexes.Platforms; !slices.Contains([]string{"all", "none", "list"}, p) {
		k.errorf("validation.manifests.indexes.platforms", "%s is none of all, none, list", quoteText(p))
	}
	for i, class := range c.Policy.Repository.Classes {
		if class != "image" && class != "plugin" {
			k.errorf(fmt.Sprintf("policy.repository.classes[%d]", i), "%s is none of image, plugin: no manifest is of that class", quoteText(class))
		}
	}
}

// considerManifests warns of rules that are off, and of images that clients may find incomplete.
func (k *checker) considerManifests() {
	v := k.c.Validation
	const indexes = "validation.manifests.indexes"
	switch {
	case v.Off():
		k.warnf("validation.disabled", "manifests may name layers at any URL, and indexes may lack images; clients will find them incomplete")
	case v.Manifests.Indexes.Platforms == "none" || v.Manifests.Indexes.Platforms == "list" && len(v.Manifests.Indexes.PlatformList) > 0:
		k.warnf(indexes+".platforms", "indexes may lack images; clients that want those will find them incomplete")
	case v.Manifests.Indexes.Platforms == "list":
		k.warnf(indexes+".platformlist", "absent: indexes must have the images of every platform")
	}
	if v.Manifests.Indexes.Platforms != "list" && len(v.Manifests.Indexes.PlatformList) > 0 {
		k.warnf(indexes+".platformlist", "no effect unless platforms is list")
	}
}
