// Command minio is the S3 server that the integration tests run against.
package main

import (
	"os"

	"github.com/minio/minio/cmd"
)

func main() {
	cmd.Main(os.Args)
}
