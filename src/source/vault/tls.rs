//! Whom we trust, and who we are. Read anew for each run, since certificates rotate.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::environment::{Pem, Settings, Trust, Unusable};
use crate::error::io_reason;

/// The configuration of every connection.
pub(super) fn config(settings: &Settings) -> Result<ClientConfig, Unusable> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // TLS 1.2 and 1.3.
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ("address", error.to_string()))?;
    let builder = if settings.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
    } else {
        builder.with_root_certificates(roots(settings)?)
    };
    match &settings.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let chain = certificates("client_cert", cert)?;
            let key = private_key(key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let why = match error {
                    Error::InconsistentKeys(_) => "is not the key of `client_cert`".to_owned(),
                    other => format!("cannot be used: {other}"),
                };
                ("client_key", why)
            })
        }
    }
}

fn roots(settings: &Settings) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    let mut add = |from: &dyn std::fmt::Display, found: Vec<CertificateDer<'static>>| {
        for certificate in found {
            roots
                .add(certificate)
                .map_err(|error| ("ca_cert", format!("{from}: not a certificate: {error}")))?;
        }
        Ok(())
    };
    match &settings.trust {
        Trust::System => {
            let (_, unusable) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            tracing::trace!(unusable, "system authorities read");
            if roots.is_empty() && settings.endpoint.is_tls() {
                let why = "is not set, and this system has no trusted authorities of its own";
                return Err(("ca_cert", why.into()));
            }
        }
        Trust::Only(pem) => add(&shown(pem), certificates("ca_cert", pem)?)?,
        Trust::Folder(folder) => {
            let unreadable = |error: std::io::Error| {
                let why = format!("{}: {}", folder.display(), io_reason(&error));
                ("ca_cert", why)
            };
            for entry in fs::read_dir(folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                // A mounted secret has its folders beside its files.
                if path.is_file() {
                    let pem = Pem::File(path);
                    add(&shown(&pem), certificates("ca_cert", &pem)?)?;
                }
            }
            if roots.is_empty() {
                let why = format!("{}: holds no certificates", folder.display());
                return Err(("ca_cert", why));
            }
        }
    }
    Ok(roots)
}

fn certificates(key: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let bytes = read(key, pem)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err((
            key,
            format!("{}: holds no certificates in PEM form", shown(pem)),
        )),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, Unusable> {
    let bytes = read("client_key", pem)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let text = String::from_utf8_lossy(&bytes);
        let why = if text.contains("ENCRYPTED") {
            "holds an encrypted key; it must be without a passphrase"
        } else {
            "holds no private key in PEM form"
        };
        ("client_key", format!("{}: {why}", shown(pem)))
    })
}

fn read(key: &'static str, pem: &Pem) -> Result<zeroize::Zeroizing<Vec<u8>>, Unusable> {
    let bytes = match pem {
        Pem::Text(text) => text.expose().as_bytes().to_vec(),
        Pem::File(path) => fs::read(path)
            .map_err(|error| (key, format!("{}: {}", path.display(), io_reason(&error))))?,
    };
    Ok(bytes.into())
}

fn shown(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => Path::display(path).to_string(),
        Pem::Text(_) => "the text in the environment".to_owned(),
    }
}

/// Takes any certificate, as `skip_verify` asks for. The handshake is still proved to be made with
/// that certificate's key.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::vault::config::VaultConfig;
    use crate::value::Env;

    fn try_with<const LEN: usize>(env: [(&str, &str); LEN]) -> Result<ClientConfig, Unusable> {
        config(&Settings::resolve(&VaultConfig::default(), &Env::from(env)).unwrap())
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        };
        let garbage = write("garbage", "not a certificate");
        let broken = write(
            "broken",
            "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n",
        );
        for path in [garbage.as_str(), broken.as_str(), "/nowhere/ca.pem"] {
            let (key, why) = try_with([("VAULT_CACERT", path)]).unwrap_err();
            assert_eq!(key, "ca_cert");
            assert!(why.contains(path), "{why}");
        }
        let folder = folder.path().to_string_lossy();
        let (_, why) = try_with([("VAULT_CAPATH", &*folder)]).unwrap_err();
        assert!(
            why.contains("in PEM form") || why.contains("not a certificate"),
            "{why}"
        );
    }

    #[test]
    fn text_in_the_environment_is_not_repeated() {
        let (key, why) = try_with([("VAULT_CACERT_BYTES", "hunter2")]).unwrap_err();
        assert_eq!(key, "ca_cert");
        assert!(!why.contains("hunter2"), "{why}");
    }

    #[test]
    fn an_encrypted_key_is_told_from_no_key() {
        let key = |text: &'static str| private_key(&Pem::Text(crate::value::Secret::new(text)));
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(
            key(encrypted)
                .unwrap_err()
                .1
                .contains("without a passphrase")
        );
        assert!(
            key("nothing")
                .unwrap_err()
                .1
                .contains("holds no private key")
        );
    }

    #[test]
    fn an_empty_folder_trusts_nobody_and_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_string_lossy();
        let (_, why) = try_with([("VAULT_CAPATH", &*path)]).unwrap_err();
        assert!(why.ends_with("holds no certificates"), "{why}");
    }
}
