//! Which certificates the HTTP clients of Patchbay's crates trust, where `SSL_CERT_FILE` names them.
//!
//! The client's own verifier reads that variable too, but refuses a self-signed certificate that is marked as an
//! authority, which curl and Python accept, and fails for plain HTTP as well where the file is missing.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

const VARIABLE: &str = "SSL_CERT_FILE";

/// The configuration that `SSL_CERT_FILE` asks for; none where it is not set. With a file that cannot be used each
/// handshake fails with the reason.
pub fn from_environment() -> Option<ClientConfig> {
    let file = std::env::var_os(VARIABLE)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust: Trust::read(&file, &provider), provider: Arc::clone(&provider) };
    // Ring has both versions of the protocol.
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let verifier = Arc::new(verifier);
    Some(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct Verifier {
    /// Or why the variable's file cannot be used.
    trust: Result<Trust, String>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Reads `SSL_CERT_DIR` along, where that is set.
    fn read(file: &OsStr, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let shown = Path::new(file).display();
        if file.is_empty() {
            return Err(format!("{VARIABLE} is set and empty: unset it, or name a file of certificates"));
        }
        std::fs::File::open(file)
            .map_err(|error| format!("{VARIABLE} names {shown}, which cannot be read: {error}"))?;
        let certificates = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if usable == 0 {
            return Err(format!("{VARIABLE} names {shown}, which holds no certificate in PEM form"));
        }
        let chains = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build();
        let chains = chains.map_err(|error| format!("{VARIABLE} names {shown}: {error}"))?;
        Ok(Self { chains, certificates })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust { chains, certificates } =
            self.trust.as_ref().map_err(|why| Error::General(why.clone()))?;
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // A certificate that is trusted itself needs no issuer. Its dates were checked before this error.
            Err(error) if is_authority(&error) && certificates.iter().any(|one| one == end_entity) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate is refused only since it is marked as an authority.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else { return false };
    cause.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}
