//! A real slapd with one user, for logins to Vault.

use std::ffi::OsStr;
use std::fs;

use tempfile::TempDir;

use super::servers::{Process, free_port, require, run};

/// A running slapd; dropping it kills it and removes its data.
pub struct LdapServer {
    /// `ldap://127.0.0.1:PORT`.
    pub url: String,
    /// The server's process, for signals and its log.
    pub process: Process,
    _scratch: TempDir,
}

impl LdapServer {
    /// The only user, below [`LdapServer::PEOPLE`].
    pub const USER: &str = "lifeboat";
    /// Its password, which has to be encoded in JSON.
    pub const PASSWORD: &str = "pass \"word\" \u{e9}";
    /// Where users are, each found by its `uid`.
    pub const PEOPLE: &str = "ou=people,dc=example,dc=org";

    /// Starts a server and waits until the user can log in.
    pub fn start() -> LdapServer {
        let slapd = require("slapd");
        let scratch = tempfile::tempdir().expect("a temporary folder can be made");
        let file = |name: &str| scratch.path().join(name).display().to_string();
        fs::create_dir(file("db")).expect("a folder can be made");
        let config = format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             database mdb\n\
             suffix \"dc=example,dc=org\"\n\
             directory {}\n\
             maxsize 10485760\n",
            file("db")
        );
        fs::write(file("slapd.conf"), config).expect("a file can be written");
        let (user, password, people) = (Self::USER, Self::PASSWORD, Self::PEOPLE);
        let entries = format!(
            "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\n\
             dc: example\no: Example\n\n\
             dn: {people}\nobjectClass: organizationalUnit\nou: people\n\n\
             dn: uid={user},{people}\nobjectClass: inetOrgPerson\n\
             uid: {user}\ncn: Lifeboat\nsn: Boat\nuserPassword: {password}\n"
        );
        fs::write(file("entries.ldif"), entries).expect("a file can be written");
        let (config, entries) = (file("slapd.conf"), file("entries.ldif"));
        run(&slapd, ["-T", "add", "-f", &config, "-l", &entries]);
        let url = format!("ldap://127.0.0.1:{}", free_port());
        let args = ["-f", &config, "-h", &url, "-d", "0"].map(OsStr::new);
        let log = scratch.path().join("slapd.log");
        let process = Process::spawn(&slapd, &args, &[], &log);
        let mut server = LdapServer {
            url,
            process,
            _scratch: scratch,
        };
        server.wait_ready();
        server
    }

    fn wait_ready(&mut self) {
        let whoami = require("ldapwhoami");
        let dn = format!("uid={},{}", Self::USER, Self::PEOPLE);
        let url = &self.url;
        self.process.wait_ready(|| {
            let output = std::process::Command::new(&whoami)
                .args(["-x", "-H", url, "-D", &dn, "-w", Self::PASSWORD])
                .output()
                .map_err(|error| error.to_string())?;
            if output.status.success() {
                return Ok(());
            }
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        });
    }
}
