//! A certificate authority for the tests, made with the openssl command.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::servers::{require, run};

const VALID_DAYS: &str = "30";

/// A certificate authority in a temporary folder. Its files live as long as the value.
pub struct TestCa {
    /// The authority's certificate, in PEM form.
    pub ca_pem: PathBuf,
    ca_key: PathBuf,
    dir: TempDir,
}

impl TestCa {
    /// Makes a fresh authority.
    pub fn new() -> TestCa {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let ca_pem = dir.path().join("ca.pem");
        let ca_key = dir.path().join("ca.key");
        let ca = TestCa {
            ca_pem,
            ca_key,
            dir,
        };
        ca.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            VALID_DAYS,
            "-subj",
            "/CN=Lifeboat test CA",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        ca
    }

    /// Issues a certificate for servers and clients. `sans` holds DNS names and IP addresses.
    /// Returns the paths of the certificate and of its private key, both in PEM form.
    pub fn issue(&self, name: &str, sans: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = sans
            .iter()
            .map(|san| match san.parse::<IpAddr>() {
                Ok(address) => format!("IP:{address}"),
                Err(_) => format!("DNS:{san}"),
            })
            .collect();
        let mut extensions = String::from(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=serverAuth,clientAuth\n",
        );
        if !names.is_empty() {
            extensions.extend(["subjectAltName=", &names.join(","), "\n"]);
        }
        let file = |suffix: &str| format!("{name}.{suffix}");
        fs::write(self.dir.path().join(file("ext")), extensions)
            .expect("a file can be written to the temporary folder");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            VALID_DAYS,
            "-extfile",
            &file("ext"),
            "-out",
            &file("crt"),
        ]);
        (
            self.dir.path().join(file("crt")),
            self.dir.path().join(file("key")),
        )
    }

    /// The authority's certificate as text.
    pub fn pem(&self) -> String {
        fs::read_to_string(&self.ca_pem).expect("the authority's certificate can be read")
    }

    /// Runs openssl inside the authority's folder.
    fn openssl(&self, args: &[&str]) {
        let openssl = require("openssl");
        let in_folder = [
            "-C".into(),
            self.dir.path().into(),
            openssl.into_os_string(),
        ];
        let args = args.iter().map(Into::into);
        run(&require("env"), in_folder.into_iter().chain(args));
    }
}

impl Default for TestCa {
    fn default() -> Self {
        TestCa::new()
    }
}
