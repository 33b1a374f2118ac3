//! The way onto the network: one connector per store, which notices uploads that stand still.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::limits::S3Limits;
use crate::error::io_reason;

/// What is handed to the socket at once; the unit in which progress is seen.
const FRAME: usize = 128 << 10;

/// The certificates to trust: the system's and those in `ca_cert`.
pub(super) fn trust(ca_cert: Option<&Path>) -> Result<TrustStore, String> {
    let Some(path) = ca_cert else {
        return Ok(TrustStore::default());
    };
    let pem = std::fs::read(path)
        .map_err(|error| format!("ca_cert: {}: {}", path.display(), io_reason(&error)))?;
    // The SDK panics on certificates it cannot use, so they are tried here.
    let mut tried = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate
            .ok()
            .and_then(|certificate| tried.add(certificate).ok())
            .ok_or_else(|| format!("ca_cert: {}: not a PEM certificate", path.display()))?;
    }
    if tried.is_empty() {
        return Err(format!("ca_cert: {}: holds no certificate", path.display()));
    }
    Ok(TrustStore::default().with_pem_certificate(pem))
}

/// The HTTP client of one store. All its requests share one pool of connections.
pub(super) fn http_client(trust: TrustStore, limits: &S3Limits) -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let connector = Connector::builder()
        .connector_settings(
            HttpConnectorSettings::builder()
                .connect_timeout(limits.connect)
                .build(),
        )
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls.unwrap_or_default())
        .build();
    let watched = SharedHttpConnector::new(Watched {
        inner: SharedHttpConnector::new(connector),
        stall: limits.stall,
    });
    http_client_fn(move |_, _| watched.clone())
}

/// A connector that ends an upload of which the peer takes nothing for a while. The SDK's own
/// protection does not see into bodies that lie in memory.
#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    stall: Duration,
}

impl HttpConnector for Watched {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if request.method() != "PUT" || request.body().content_length() == Some(0) {
            return self.inner.call(request);
        }
        let progress = Arc::new(Progress::new());
        let whole = request.take_body();
        let frames = Frames {
            whole,
            rest: Bytes::new(),
            progress: progress.clone(),
        };
        *request.body_mut() = SdkBody::from_body_1_x(frames);
        let answer = self.inner.call(request);
        let stall = self.stall;
        HttpConnectorFuture::new(async move {
            tokio::select! {
                answer = answer => answer,
                () = progress.stalled(stall) => {
                    Err(ConnectorError::timeout(Box::new(Stalled(stall))))
                }
            }
        })
    }
}

/// The peer took nothing for this long.
#[derive(Debug, thiserror::Error)]
#[error("no progress for {} s", .0.as_secs())]
pub(super) struct Stalled(Duration);

/// When a body last moved.
#[derive(Debug)]
struct Progress {
    begin: Instant,
    last: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            last: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    fn made(&self) {
        let at = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    /// Resolves when nothing moved for `limit`. What the system has taken may still be on its way
    /// for long, so that a body that was handed over whole has only the attempt's time limit.
    async fn stalled(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let idle = self.begin.elapsed().saturating_sub(last);
            match limit.checked_sub(idle) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ if self.ended.load(Ordering::Relaxed) => std::future::pending().await,
                _ => return,
            }
        }
    }
}

/// A body in memory, handed out in frames.
struct Frames {
    whole: SdkBody,
    rest: Bytes,
    progress: Arc<Progress>,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("rest", &self.rest.len())
            .finish_non_exhaustive()
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.progress.made();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.whole).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(FRAME);
        let frame = self.rest.split_to(length);
        if self.is_end_stream() {
            self.progress.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = Body::size_hint(&self.whole);
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
