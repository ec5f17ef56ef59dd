// Package tree is distribution's on-disk layout: every path that registry 2.x and 3.x read and write, below the driver's root,
// and the projection of the index's names back into it, so that the incumbent can take over after a clean stop.
//
//	docker/registry/v2/
//	    blobs/<algorithm>/<first two>/<hex>/data             bytes, of manifests too
//	    repositories/<name>/
//	        _layers/<algorithm>/<hex>/link                   the repository may serve this blob
//	        _manifests/revisions/<algorithm>/<hex>/link      a manifest of the repository
//	        _manifests/tags/<tag>/current/link               the tag's target
//	        _manifests/tags/<tag>/index/<algorithm>/<hex>/link   every target the tag ever had
//	        _uploads/<uuid>/data                             bytes so far
//
// A link holds a digest and nothing else, no newline. Source: distribution, registry/storage/paths.go, the same in 2.8.3 and 3.1.2.
package tree

import (
	"path"

	"github.com/opencontainers/go-digest"
)

const (
	// Root is the folder of the tree.
	Root         = "docker/registry/v2"
	blobs        = Root + "/blobs"
	repositories = Root + "/repositories"

	// Blobs and Repositories are the folders below which blobs and repositories lie.
	Blobs, Repositories = blobs, repositories
)

// Blob returns the path of a blob's bytes.
func Blob(d digest.Digest) string { return path.Join(BlobFolder(d), "data") }

// BlobFolder returns the folder that holds a blob's bytes and nothing else.
func BlobFolder(d digest.Digest) string {
	hex := d.Encoded()
	return path.Join(blobs, d.Algorithm().String(), hex[:2], hex)
}

// Repository returns the folder of a repository.
func Repository(repo string) string { return path.Join(repositories, repo) }

// Layers and Manifests return the folders of a repository's links: to its blobs, and to its manifests and tags.
func Layers(repo string) string    { return path.Join(repositories, repo, "_layers") }
func Manifests(repo string) string { return path.Join(repositories, repo, "_manifests") }

// Upload returns the folder of an upload session.
func Upload(repo, id string) string { return path.Join(repositories, repo, "_uploads", id) }

// UploadData returns the path of the bytes that an upload session has so far.
func UploadData(repo, id string) string { return path.Join(Upload(repo, id), "data") }

// Layer returns the path of the link that lets a repository serve a blob.
func Layer(repo string, d digest.Digest) string {
	return path.Join(repositories, repo, "_layers", digestPath(d), "link")
}

// Revision returns the path of the link of a repository's manifest.
func Revision(repo string, d digest.Digest) string {
	return path.Join(repositories, repo, "_manifests/revisions", digestPath(d), "link")
}

// Tag returns the folder of a tag.
func Tag(repo, tag string) string { return path.Join(repositories, repo, "_manifests/tags", tag) }

// TagCurrent returns the path of the link to a tag's target.
func TagCurrent(repo, tag string) string { return path.Join(Tag(repo, tag), "current/link") }

// TagIndex returns the path of the link to a target that a tag has or had.
func TagIndex(repo, tag string, d digest.Digest) string {
	return path.Join(Tag(repo, tag), "index", digestPath(d), "link")
}

func digestPath(d digest.Digest) string { return path.Join(d.Algorithm().String(), d.Encoded()) }
