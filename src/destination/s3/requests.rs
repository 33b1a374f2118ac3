use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::bucket::{OWNER, Watch};
use super::client::within;
use super::error::Failure;
use super::extras::Extras;
use super::parts;
use super::upload::Upload;

impl Upload {
    pub(super) async fn send_whole(&self, bytes: Bytes, extras: Extras) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let limit = within(bucket.limits.upload(bytes.len()));
        let request = bucket
            .client
            .put_object()
            .bucket(&bucket.name)
            .key(&self.full)
            .metadata(OWNER, &self.token)
            .set_if_none_match(extras.condition.then(|| "*".to_owned()))
            .set_checksum_crc32_c(extras.checksum.then(|| parts::checksum(&bytes)))
            .set_storage_class(bucket.storage_class.clone())
            .set_server_side_encryption(bucket.sse.clone())
            .set_ssekms_key_id(bucket.sse_kms_key_id.clone())
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(limit);
        let request = if extras.unsigned {
            request.disable_payload_signing()
        } else {
            request
        };
        request.send().await?;
        Ok(())
    }

    /// Begins a multipart upload; answers with its id.
    pub(super) async fn send_create(
        &self,
        extras: Extras,
        watch: &Watch,
    ) -> Result<String, Failure> {
        let bucket = &self.bucket;
        let created = bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(&self.full)
            .metadata(OWNER, &self.token)
            .set_checksum_algorithm(extras.checksum.then_some(ChecksumAlgorithm::Crc32C))
            .set_storage_class(bucket.storage_class.clone())
            .set_server_side_encryption(bucket.sse.clone())
            .set_ssekms_key_id(bucket.sse_kms_key_id.clone())
            .customize()
            .interceptor(watch.clone())
            .send()
            .await?;
        let id = created.upload_id.filter(|id| !id.is_empty());
        id.ok_or_else(|| Failure::nonsense("gave no id for a multipart upload"))
    }

    pub(super) async fn try_part(
        &self,
        number: u64,
        bytes: Bytes,
        extras: Extras,
    ) -> Result<CompletedPart, Failure> {
        let bucket = &self.bucket;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let checksum = extras.checksum.then(|| parts::checksum(&bytes));
        let limit = within(bucket.limits.upload(bytes.len()));
        let request = bucket
            .client
            .upload_part()
            .bucket(&bucket.name)
            .key(&self.full)
            .set_upload_id(self.id.get().cloned())
            .part_number(number)
            .set_checksum_crc32_c(checksum.clone())
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(limit);
        let request = if extras.unsigned {
            request.disable_payload_signing()
        } else {
            request
        };
        let sent = request.send().await?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32_c(checksum)
            .build())
    }

    pub(super) async fn send_complete(
        &self,
        parts: CompletedMultipartUpload,
        extras: Extras,
    ) -> Result<(), Failure> {
        let bucket = &self.bucket;
        bucket
            .client
            .complete_multipart_upload()
            .bucket(&bucket.name)
            .key(&self.full)
            .set_upload_id(self.id.get().cloned())
            .set_if_none_match(extras.condition.then(|| "*".to_owned()))
            .multipart_upload(parts)
            .customize()
            .config_override(within(bucket.limits.complete))
            .send()
            .await?;
        Ok(())
    }
}
