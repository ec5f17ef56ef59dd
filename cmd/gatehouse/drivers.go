package main

import (
	"context"
	"errors"

	"gatehouse/configs"
	"gatehouse/registry/driver"
	"gatehouse/registry/driver/filesystem"
	"gatehouse/registry/driver/inmemory"
	"gatehouse/registry/driver/s3"
)

// openDriver chooses the driver.
func openDriver(ctx context.Context, cfg configs.Storage) (driver.Driver, error) {
	switch {
	case cfg.Filesystem != nil:
		return filesystem.New(cfg.Filesystem.RootDirectory)
	case cfg.S3 != nil:
		return s3.New(ctx, s3Options(cfg.S3))
	case cfg.InMemory != nil:
		return inmemory.New(), nil
	}
	return nil, configError{errors.New("storage names no driver")}
}

// s3Options are the driver's options as the configuration has them.
func s3Options(c *configs.S3) s3.Options {
	return s3.Options{
		AccessKey: c.AccessKey, SecretKey: s3.Secret(c.SecretKey),
		Region: c.Region, RegionEndpoint: c.RegionEndpoint, Bucket: c.Bucket, RootDirectory: c.RootDirectory,
		Insecure: c.Secure != nil && !*c.Secure, SkipVerify: c.SkipVerify,
		ForcePathStyle: c.ForcePathStyle, UseDualStack: c.UseDualStack, Accelerate: c.Accelerate, UseFIPS: c.UseFIPSEndpoint,
		Encrypt: c.Encrypt, KeyID: c.KeyID, StorageClass: c.StorageClass, ObjectACL: c.ObjectACL, UserAgent: c.UserAgent,
		ChunkSize: int64(c.ChunkSize), CopyThreshold: int64(c.MultipartCopyThresholdSize),
		CopyChunkSize: int64(c.MultipartCopyChunkSize), CopyConcurrency: c.MultipartCopyMaxConcurrency,
		RedirectEndpoint: c.RedirectEndpoint, V4Auth: c.V4Auth == nil || *c.V4Auth, LogLevel: c.LogLevel,
	}
}
