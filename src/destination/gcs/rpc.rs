//! The three calls of `google.storage.v2` that a store needs, with the fields that it reads.
//!
//! The official client has more than a hundred calls, all of which end up in the program: they
//! made it larger by half.

use std::collections::HashMap;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use super::error::Failure;
use super::limits::GcsLimits;

const ROUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The largest page: a thousand objects with long names and metadata.
const LARGEST_ANSWER: usize = 64 << 20;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListObjects {
    #[prost(string, tag = "1")]
    pub parent: String,
    #[prost(int32, tag = "2")]
    pub page_size: i32,
    #[prost(string, tag = "3")]
    pub page_token: String,
    #[prost(string, tag = "4")]
    pub delimiter: String,
    #[prost(string, tag = "6")]
    pub prefix: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Page {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<Found>,
    #[prost(string, repeated, tag = "2")]
    pub prefixes: Vec<String>,
    #[prost(string, tag = "3")]
    pub next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetObject {
    #[prost(string, tag = "1")]
    pub bucket: String,
    #[prost(string, tag = "2")]
    pub object: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeleteObject {
    #[prost(string, tag = "1")]
    pub bucket: String,
    #[prost(string, tag = "2")]
    pub object: String,
    #[prost(int64, optional, tag = "5")]
    pub if_generation_match: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}

/// An object, as the store knows it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Found {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub generation: i64,
    #[prost(int64, tag = "6")]
    pub size: i64,
    #[prost(message, optional, tag = "14")]
    pub create_time: Option<Time>,
    #[prost(message, optional, tag = "16")]
    pub checksums: Option<Checksums>,
    #[prost(message, optional, tag = "17")]
    pub update_time: Option<Time>,
    #[prost(map = "string, string", tag = "22")]
    pub metadata: HashMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Checksums {
    #[prost(fixed32, optional, tag = "1")]
    pub crc32c: Option<u32>,
}

/// A call: where it goes, and which bucket it is about.
pub(super) trait Call: Message + Clone + 'static {
    const PATH: &'static str;
    type Answer: Message + Default + 'static;

    fn bucket(&self) -> &str;
}

impl Call for ListObjects {
    const PATH: &'static str = "/google.storage.v2.Storage/ListObjects";
    type Answer = Page;

    fn bucket(&self) -> &str {
        &self.parent
    }
}

impl Call for GetObject {
    const PATH: &'static str = "/google.storage.v2.Storage/GetObject";
    type Answer = Found;

    fn bucket(&self) -> &str {
        &self.bucket
    }
}

impl Call for DeleteObject {
    const PATH: &'static str = "/google.storage.v2.Storage/DeleteObject";
    type Answer = Nothing;

    fn bucket(&self) -> &str {
        &self.bucket
    }
}

/// A way to the gRPC interface; connected by the first call.
#[derive(Debug, Clone)]
pub(super) struct Control(Channel);

impl Control {
    pub fn new(
        url: &str,
        user_agent: &'static str,
        limits: &GcsLimits,
    ) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(limits.connect)
            .timeout(limits.request)
            .user_agent(user_agent)?;
        let endpoint = if url.starts_with("https:") {
            endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?
        } else {
            endpoint
        };
        Ok(Self(endpoint.connect_lazy()))
    }

    pub async fn send<C: Call>(
        &self,
        call: C,
        mut headers: HeaderMap,
    ) -> Result<C::Answer, Failure> {
        let mut client = Grpc::new(self.0.clone()).max_decoding_message_size(LARGEST_ANSWER);
        client.ready().await.map_err(|error| Failure::of(&error))?;
        // By it, the store knows where the call goes.
        let route = utf8_percent_encode(call.bucket(), ROUTE);
        if let Ok(route) = HeaderValue::from_str(&format!("bucket={route}")) {
            headers.insert("x-goog-request-params", route);
        }
        let metadata = MetadataMap::from_headers(headers);
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::new(), call);
        let path = PathAndQuery::from_static(C::PATH);
        let codec = ProstCodec::<C, C::Answer>::default();
        match client.unary(request, path, codec).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(Failure::from(&status)),
        }
    }
}
