//! TLS as an operator sets it up and the client commands use it.

use std::path::PathBuf;

use crate::program::{File, OPEN, Server, command};

/// A certificate for `localhost` and the addresses of loopback; it is its own authority.
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    pub(crate) fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        let made = Self { folder };
        made.renew();
        made
    }

    /// Writes another one in its place.
    pub(crate) fn renew(&self) {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(self.file("cert.pem"), made.cert.pem()).expect("writable");
        std::fs::write(self.file("key.pem"), made.signing_key.serialize_pem()).expect("writable");
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The section of the settings, with this address.
    pub(crate) fn section(&self, listen: &str) -> String {
        let (certificate, key) = (self.file("cert.pem"), self.file("key.pem"));
        format!("[tls]\nlisten = \"{listen}\"\ncertificate_file = \"{certificate}\"\nprivate_key_file = \"{key}\"\n")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_client_commands_reach_a_server_over_tls() {
    let certificate = Certificate::new("clients");
    let file = File::new("tls", &format!("{OPEN}{}", certificate.section("127.0.0.1:0")));
    let mut server = Server::start(&["serve", "--config", file.path()]);
    let line = server.heard("listening on https://127.0.0.1:");
    let port = line.trim().rsplit(':').next().expect("a port").to_owned();
    server.url = format!("https://localhost:{port}");
    let ca = certificate.file("cert.pem");
    server.omnivox(&["publish", "secret", "1", "--ca", &ca]);
    for transport in ["ws", "sse", "poll"] {
        let told = ["subscribe", "secret", "--transport", transport, "--since", "earliest", "--count", "1", "--ca", &ca];
        assert_eq!(server.omnivox(&told), "1\n", "{transport}");
    }
    server.url = format!("wss://127.0.0.1:{port}");
    let by_environment = command(&["publish", "secret", "2"]).env("OMNIVOX_URL", &server.url).env("SSL_CERT_FILE", &ca).output();
    assert!(by_environment.expect("the binary runs").status.success(), "an address is a name of the certificate, too");

    for (arguments, part) in [
        (&["publish", "secret", "3"][..], "UnknownIssuer"),
        (&["publish", "secret", "3", "--ca", "/nowhere.pem"], "/nowhere.pem"),
        (&["publish", "secret", "3", "--ca", file.path()], "it has no certificate"),
    ] {
        let refused = command(arguments).env("OMNIVOX_URL", &server.url).output().expect("the binary runs");
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{arguments:?}: {words}");
        assert!(words.contains(part), "{arguments:?}: {words}");
    }
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_wrong_file_is_named_by_its_own_setting() {
    let certificate = Certificate::new("wrong");
    let check = |change: &dyn Fn(&str) -> String, part: &str| {
        let file = File::new("wrong-tls", &change(&format!("{OPEN}{}", certificate.section("127.0.0.1:0"))));
        let output = command(&["check", "--config", file.path()]).output().expect("the binary runs");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && words.contains(part), "{part}: {words}");
    };
    check(&|text| text.replace("cert.pem", "none.pem"), "tls.certificate_file: ");
    check(&|text| text.replace("key.pem", "none.pem"), "tls.private_key_file: ");
    check(&|text| text.replace("key.pem", "cert.pem"), "tls.private_key_file: ");
    let other = Certificate::new("other");
    check(&|text| text.replace(&certificate.file("key.pem"), &other.file("key.pem")), "tls.private_key_file: ");
    check(&|text| text.lines().filter(|line| !line.starts_with("private_key")).collect::<Vec<_>>().join("\n"), "`private_key_file`");
}

#[test]
fn check_names_a_certificate_that_has_ended() {
    let certificate = Certificate::new("ended");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2024, 4, 1);
    std::fs::write(certificate.file("cert.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("writable");
    std::fs::write(certificate.file("key.pem"), key.serialize_pem()).expect("writable");
    let file = File::new("ended", &format!("{OPEN}{}", certificate.section("127.0.0.1:0")));
    let warned = || {
        let output = command(&["check", "--config", file.path()]).output().expect("the binary runs");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).contains("warning: tls.certificate_file: the certificate ended ")
    };
    assert!(warned());
    certificate.renew();
    assert!(!warned());
}
