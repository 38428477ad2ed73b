//! Dialing TLS: [`TlsManager`].
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection};

use super::connection::TlsConn;
use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
use crate::net::connect_error::{ConnectError, Step};
use crate::net::tcp::TcpManager;

/// Opens TLS streams over TCP, by rustls, and lends them: [`TlsConn`].
///
/// ```no_run
/// use corepool::clients::TlsManager;
/// use corepool::{Pool, TcpManager};
/// use std::sync::Arc;
///
/// // `config` has the roots, a crypto provider, a client's certificate: all that is rustls's.
/// # fn of(config: Arc<rustls::ClientConfig>) -> Result<(), Box<dyn std::error::Error>> {
/// let manager = TlsManager::new(TcpManager::new("db.example.com:6380"), "db.example.com".try_into()?, config);
/// let pool = Pool::builder(manager).max_size(16).build()?;
/// # Ok(())
/// # }
/// ```
///
/// The handshake, and a login after it, have what is left of `dial_timeout`. A certificate that is refused, by either side, is permanent.
/// An idle stream is watched for its peer's hang-up, and looked at before each checkout: session tickets and renewed keys are taken, and it
/// is kept; a `close_notify`, which may come without a hang-up, and plain text that nobody asked for discard it. A use that failed or
/// panicked discards.
#[derive(Clone)]
pub struct TlsManager {
    tcp: TcpManager,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    one_way: bool,
    login: Option<Arc<Login>>,
}

type Login = dyn Fn(&mut TlsConn, &Dial<'_>) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

impl TlsManager {
    /// Over what `tcp` dials, to a peer whose certificate is for `name`. A login that `tcp` has would be spoken in plain text, before
    /// the handshake; one for afterwards is [`with_login`](TlsManager::with_login).
    pub fn new(tcp: TcpManager, name: ServerName<'static>, config: Arc<ClientConfig>) -> Self {
        // Which of a session's records are answered is the session's.
        TlsManager { tcp: tcp.one_way(true), name, config, one_way: false, login: None }
    }

    /// Changes how TCP is dialed.
    #[cfg(feature = "redis")]
    pub(crate) fn tcp(mut self, change: impl FnOnce(TcpManager) -> TcpManager) -> Self {
        self.tcp = change(self.tcp).one_way(true);
        self
    }

    /// Whether what is written expects no reply, as [`TcpManager::one_way`] does. Default `false`.
    pub fn one_way(mut self, one_way: bool) -> Self {
        self.one_way = one_way;
        self
    }

    /// Runs `login` on each new stream before it is lent, as [`TcpManager::with_login`] does.
    pub fn with_login<E>(
        mut self,
        login: impl Fn(&mut TlsConn, &Dial<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.login = Some(Arc::new(move |conn, dial| login(conn, dial).map_err(Into::into)));
        self
    }

    /// For the error of what is spoken over it.
    #[cfg(feature = "redis")]
    pub(crate) fn address(&self) -> &str {
        self.tcp.address()
    }

    /// "Connection reset by peer" alone does not say of what. What rustls says does.
    fn where_it_failed(&self, error: io::Error) -> io::Error {
        if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
            return error;
        }
        ConnectError::new(Step::Handshake { address: self.tcp.address().to_owned() }, error).into()
    }
}

impl Manager for TlsManager {
    type Connection = TlsConn;
    type Error = io::Error;

    fn connect(&self, dial: &Dial<'_>) -> io::Result<TlsConn> {
        let stream = self.tcp.connect(dial)?;
        dial.cut_at_deadline(&stream)?;
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        let mut conn = TlsConn::new(session, stream, self.one_way);
        conn.shake_hands().map_err(|error| self.where_it_failed(error))?;
        let logged_in = match &self.login {
            Some(login) => login(&mut conn, dial).and_then(|()| Ok(conn.logged_in()?)),
            None => conn.logged_in().map_err(Into::into),
        };
        match logged_in {
            Ok(()) => Ok(conn),
            Err(cause) => {
                let at = Step::Login { address: self.tcp.address().to_owned(), peer: conn.peer() };
                Err(ConnectError::new(at, cause).into())
            }
        }
    }

    /// A certificate that was refused, by either side, or no version or cipher that both know; in a login as well, which is where a
    /// client of TLS 1.3 hears that the server does not take its own.
    fn is_permanent(&self, error: &io::Error) -> bool {
        is_refusal(error)
    }

    #[inline]
    fn watch(&self, conn: &TlsConn, on: &mut Watch<'_>) {
        on.socket(conn);
    }

    fn on_idle_data(&self, conn: &mut TlsConn, _peeked: &[u8]) -> Verdict {
        if conn.take_idle() { Verdict::Keep } else { Verdict::Discard }
    }

    #[inline]
    fn on_return(&self, _conn: &mut TlsConn, how: Outcome) -> Verdict {
        // One that is not fit is discarded all the same.
        if how == Outcome::Done { Verdict::Keep } else { Verdict::Discard }
    }

    fn close(&self, mut conn: TlsConn, _why: CloseReason) {
        conn.say_goodbye();
    }
}

/// Whether there is an error of rustls's behind it that another dial meets as well.
pub(crate) fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented, PeerIncompatible};
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return match error {
                InvalidCertificate(_) | NoCertificatesPresented | PeerIncompatible(_) => true,
                AlertReceived(alert) => refuses(*alert),
                _ => false,
            };
        }
        // The source of an I/O error is that of what it wraps, and so it is of one that is shared, as those in `redis` are.
        next = if let Some(error) = error.downcast_ref::<io::Error>() {
            error.get_ref().map(|cause| cause as _)
        } else if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            Some(&**shared)
        } else {
            error.source()
        };
    }
    false
}

/// The peer does not take our certificate, or knows nothing that we know.
fn refuses(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::UnrecognisedName
            | Alert::NoApplicationProtocol
    )
}

impl fmt::Debug for TlsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsManager").field("tcp", &self.tcp).field("name", &self.name).finish_non_exhaustive()
    }
}
