package manifest

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Policy is what an operator asks of manifests that are pushed. The zero value allows no URL, asks for every image of an
// index, and takes images of any class.
type Policy struct {
	// AnyURL allows every URL from which a layer can be fetched. Otherwise one must match one of AllowURLs, if there are any,
	// and none of DenyURLs; with neither list none is allowed. Both hold regular expressions, which match anywhere in a URL.
	AnyURL              bool
	AllowURLs, DenyURLs []string
	// Sparse lets indexes lack images, but none for a platform of Required.
	Sparse   bool
	Required []Platform
	// Classes, where there are any, are the kinds of images that are taken: image, plugin.
	Classes []string
}

// Platform is what an index says of an image; variants make no difference.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Rules are a Policy made ready, with the meaning that distribution 3.1 gives it (registry/storage, ocimanifesthandler.go,
// schema2manifesthandler.go and manifestlisthandler.go; registry/handlers, applyResourcePolicy). The zero value is the zero
// Policy's.
type Rules struct {
	policy      Policy
	allow, deny *regexp.Regexp // nil without a list
}

// NewRules refuses lists that hold something else than regular expressions.
func NewRules(p Policy) (Rules, error) {
	allow, err := anyOf(p.AllowURLs)
	if err != nil {
		return Rules{}, fmt.Errorf("URLs to allow: %w", err)
	}
	deny, err := anyOf(p.DenyURLs)
	if err != nil {
		return Rules{}, fmt.Errorf("URLs to deny: %w", err)
	}
	return Rules{p, allow, deny}, nil
}

// anyOf returns an expression for what matches one of the patterns, or nil without patterns.
func anyOf(patterns []string) (*regexp.Regexp, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	for _, p := range patterns { // each for itself: "a)(b" is none
		if _, err := regexp.Compile(p); err != nil {
			return nil, err
		}
	}
	return regexp.Compile("(?:" + strings.Join(patterns, ")|(?:") + ")")
}

// Layers that clients may fetch by the URLs in their descriptors. Of the others URLs mean nothing.
const (
	dockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	ociLayerGzip   = ociLayer + "+gzip"
	ociForeign     = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	ociForeignGzip = ociForeign + "+gzip"
)

// layer judges a layer of a manifest of mediaType. foreign says that it need not be here.
func (r Rules) layer(mediaType string, d descriptor) (foreign bool, err error) {
	switch {
	case mediaType == DockerManifest && d.MediaType == dockerForeign:
		if len(d.URLs) == 0 {
			return false, invalid("missing URL on layer %s, which is fetched from elsewhere", d.Digest)
		}
		foreign = true
	case mediaType == OCIManifest && (d.MediaType == ociForeign || d.MediaType == ociForeignGzip):
		foreign = len(d.URLs) > 0
	case mediaType == OCIManifest && (d.MediaType == ociLayer || d.MediaType == ociLayerGzip):
	default:
		return false, nil
	}
	for _, u := range d.URLs {
		if !r.mayFetch(u) {
			return false, invalid("invalid URL on layer %s: %.200q is not allowed here (validation.manifests.urls)", d.Digest, u)
		}
	}
	return foreign, nil
}

// mayFetch reports whether a descriptor may send clients to a URL.
func (r Rules) mayFetch(text string) bool {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "":
		return false
	case r.policy.AnyURL:
		return true
	case r.allow == nil && r.deny == nil:
		return false
	}
	return (r.allow == nil || r.allow.MatchString(text)) && (r.deny == nil || !r.deny.MatchString(text))
}

// required reports whether an image of an index must be in the repository.
func (r Rules) required(d descriptor) bool {
	if !r.policy.Sparse {
		return true
	}
	return d.Platform != nil && slices.Contains(r.policy.Required, *d.Platform)
}

// DeniedError says which rule of the operator's a manifest breaks.
type DeniedError struct{ Reason string }

func (e *DeniedError) Error() string { return e.Reason }

// classOf names the classes by the media type of the config.
var classOf = map[string]string{
	"application/vnd.docker.container.image.v1+json": "image",
	"application/vnd.docker.plugin.v1+json":          "plugin",
	"application/vnd.oci.image.config.v1+json":       "image",
}

// class refuses an image of a class that is not taken. An index has none.
func (r Rules) class(mediaType string, config *descriptor) error {
	if len(r.policy.Classes) == 0 || config == nil {
		return nil
	}
	class, known := classOf[config.MediaType]
	if strings.HasPrefix(config.MediaType, "application/vnd.oci.") != (mediaType == OCIManifest) {
		known = false // distribution asks by the type of the manifest
	}
	switch {
	case !known:
		return &DeniedError{fmt.Sprintf("unknown manifest class for %.200s", config.MediaType)}
	case !slices.Contains(r.policy.Classes, class):
		return &DeniedError{"registry does not allow " + class + " manifest"}
	}
	return nil
}
