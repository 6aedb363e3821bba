//! Mutual TLS, with certificates made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgraph::engine::docker::endpoint::Endpoint;
use imgraph::engine::{Engine, EngineError};
use imgraph::tls::Tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{Bench, Daemon, works};
use crate::support::Workspace;

/// The name in the server's certificate.
const NAME: &str = "buildkit.test";

/// An authority, and what it signed: `NAME.pem` and `NAME-key.pem` in a directory.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// Its own certificate is `ca.pem`.
    fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(name)).unwrap()
    }

    /// A server that lets in whom this authority signed.
    fn server(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{NAME}-key.pem"))).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![self.certificate(&format!("{NAME}.pem"))], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A client that this authority signed, and that trusts it.
    fn client(&self) -> Tls {
        Tls {
            ca: Some(self.file("ca.pem")),
            cert: Some(self.file("client.pem")),
            key: Some(self.file("client-key.pem")),
            server_name: Some(NAME.to_owned()),
            ..Tls::default()
        }
    }
}

fn authority(home: &Path, name: &str) -> Authority {
    let authority = Authority::new(home.join(name));
    authority.sign(NAME);
    authority.sign("client");
    authority
}

/// A builder with the certificates of an authority, and a client with what `tls` makes of them and
/// those of another one.
fn bench(tls: impl FnOnce(&Authority, &Authority) -> Tls) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let [right, wrong] = ["right", "wrong"].map(|name| authority(home.path(), name));
    let mut daemon = Daemon::on_port(Some(right.server()));
    let Endpoint::Tcp { tls: of_endpoint, .. } = &mut daemon.endpoint else { unreachable!() };
    *of_endpoint = Some(tls(&right, &wrong));
    let bench = Bench::with(home, daemon, [].into());
    works(&bench.daemon);
    bench
}

/// Trying again does not help; the words name the builder and what is wrong.
#[track_caller]
fn refused(bench: &Bench, words: &str) {
    let error = bench.engine.capabilities().unwrap_err();
    let EngineError::Auth(text) = &error else { panic!("{error:?}") };
    assert!(text.contains(&bench.daemon.endpoint.to_string()), "{text}");
    assert!(text.contains("TLS") && text.contains(words), "{text}");
    let error = bench.build("a").unwrap_err();
    assert!(matches!(error, EngineError::Auth(_)), "{error:?}");
}

#[test]
fn a_client_with_the_right_certificates_is_let_in() {
    bench(|right, _| right.client()).build("a").unwrap();
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    let bench = bench(|right, _| Tls { cert: None, key: None, ..right.client() });
    refused(&bench, "CertificateRequired");
}

#[test]
fn a_client_of_another_authority_is_told_so() {
    let bench = bench(|right, wrong| Tls { ca: right.client().ca, ..wrong.client() });
    refused(&bench, "fatal alert");
}

#[test]
fn a_server_of_another_authority_is_not_believed() {
    let bench = bench(|right, wrong| Tls { ca: wrong.client().ca, ..right.client() });
    refused(&bench, "invalid peer certificate");
}

#[test]
fn a_server_of_another_name_is_not_believed() {
    let bench = bench(|right, _| Tls { server_name: Some("other.test".into()), ..right.client() });
    refused(&bench, "other.test");
}

#[test]
fn a_certificate_that_is_not_there_is_named() {
    let bench = bench(|right, _| Tls { cert: Some("/nowhere/cert.pem".into()), ..right.client() });
    refused(&bench, "/nowhere/cert.pem");
}

#[test]
fn the_program_names_the_builder_that_refuses_it() {
    let bench = bench(|right, _| right.client());
    let tree = Workspace::new("//- images/a/Dockerfile\nFROM scratch\nLABEL a=1\n");
    let ca = bench.home.path().join("right/ca.pem");
    let endpoint = &bench.daemon.endpoint;
    tree.write(
        "layers.toml",
        format!(
            "[[builder]]\nname = 'far'\nendpoint = '{endpoint}'\nca = '{}'\nserver-name = '{NAME}'\n",
            ca.display()
        ),
    );
    let said = tree.rebuild_with("buildkit", "", &[]).exits(69);
    said.mentions(&format!("{endpoint}\n")).never_mentions("trying again");
}
