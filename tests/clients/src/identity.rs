//! A certificate for a test's own servers.

use std::sync::Arc;

use corepool::TcpManager;
use corepool::clients::TlsManager;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// A certificate for `localhost`, that its clients trust.
#[derive(Debug)]
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key: Vec<u8>,
    pub key_pem: String,
}

impl Identity {
    #[expect(clippy::new_without_default, reason = "no two are equal, which a default would promise")]
    pub fn new() -> Identity {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Identity {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key: made.signing_key.serialize_der(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    pub fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// A server that asks its clients for nothing.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_of(&WebPkiClientVerifier::no_client_auth())
    }

    /// A server that takes only clients with this certificate.
    pub fn strict_server(&self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.server_of(&verifier.build().unwrap())
    }

    fn server_of(&self, verifier: &Arc<dyn ClientCertVerifier>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let builder = builder.with_client_cert_verifier(Arc::clone(verifier));
        Arc::new(builder.with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }

    pub fn manager(&self, port: u16, version: &'static SupportedProtocolVersion) -> TlsManager {
        self.manager_over(TcpManager::new(format!("127.0.0.1:{port}")), version)
    }

    pub fn manager_over(&self, tcp: TcpManager, version: &'static SupportedProtocolVersion) -> TlsManager {
        TlsManager::new(tcp, "localhost".try_into().unwrap(), self.client(version))
    }
}
