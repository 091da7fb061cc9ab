//! SCRAM-SHA-256 as the server plays it (RFC 5802 and RFC 7677, as PostgreSQL speaks it), over a verifier from which the password
//! cannot be had, nor what a client would need to log in: a stolen users file opens nothing.
//!
//! pgwire's own handshake wants the salted password, which is as good as the password; so only its key derivation is used.

use crate::base64;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{gen_salted_password, random_nonce};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Name of the mechanism.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";
/// Rounds of the key derivation, as PostgreSQL 16 takes by default.
const ITERATIONS: u32 = 4096;
/// Most rounds that a users file may ask for: they are computed at every HTTP request with a password.
const ITERATIONS_MAX: u32 = 200_000;
/// Longest nonce of a client.
const NONCE_LENGTH_MAX: usize = 256;

type Key = [u8; 32];

/// What is kept of a password, written as PostgreSQL writes it into `pg_authid.rolpassword`:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// With a fresh salt of 144 bits.
    pub fn of_password(password: &str) -> Verifier {
        Verifier::with_salt(password, random_nonce().into_bytes(), ITERATIONS)
    }

    fn with_salt(password: &str, salt: Vec<u8>, iterations: u32) -> Verifier {
        let salted = gen_salted_password(password, &salt, iterations as usize);
        Verifier {
            stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
            server_key: hmac(&salted, b"Server Key"),
            iterations,
            salt,
        }
    }

    /// For a name that nobody has: the same salt at every try, and no password that fits. So that who asks cannot tell.
    pub fn of_nobody(secret: &[u8], name: &str) -> Verifier {
        let salt = hmac(secret, name.as_bytes())[..18].to_vec();
        let (stored_key, server_key) = (hmac(secret, b"stored"), hmac(secret, b"server"));
        Verifier { iterations: ITERATIONS, salt: base64::encode(&salt).into_bytes(), stored_key, server_key }
    }

    /// Whether a password told in plain (HTTP over TLS) is the one. Takes as long as [`ITERATIONS`] hashes do.
    pub fn fits(&self, password: &str) -> bool {
        let told = Verifier::with_salt(password, self.salt.clone(), self.iterations);
        same(&told.stored_key, &self.stored_key)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored, server) =
            (base64::encode(&self.salt), base64::encode(&self.stored_key), base64::encode(&self.server_key));
        write!(f, "{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl FromStr for Verifier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Verifier, Self::Err> {
        let key = |text: &str| base64::decode(text).and_then(|bytes| Key::try_from(bytes).ok());
        let parts = || {
            let (mechanism, rest) = text.split_once('$')?;
            let (derivation, keys) = rest.split_once('$')?;
            let ((iterations, salt), (stored, server)) = (derivation.split_once(':')?, keys.split_once(':')?);
            let verifier = Verifier {
                iterations: iterations.parse().ok()?,
                salt: base64::decode(salt)?,
                stored_key: key(stored)?,
                server_key: key(server)?,
            };
            (mechanism == MECHANISM && !verifier.salt.is_empty()).then_some(verifier)
        };
        let verifier = parts().ok_or("it is not SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")?;
        match verifier.iterations {
            ITERATIONS..=ITERATIONS_MAX => Ok(verifier),
            _ => Err("its iterations are not from 4096 to 200000"),
        }
    }
}

/// A handshake in which the client's first message was answered.
pub(crate) struct Handshake {
    verifier: Verifier,
    /// `n,,` or `y,,` and so on, as the client sent it.
    header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

/// The client broke the protocol, or its proof is wrong. Which, it is not told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Handshake {
    /// Takes `client-first-message`; returns what to answer.
    pub fn begin(verifier: Verifier, client_first: &str) -> Result<(Handshake, String), Failed> {
        Handshake::with_nonce(verifier, client_first, &random_nonce())
    }

    fn with_nonce(verifier: Verifier, client_first: &str, own_nonce: &str) -> Result<(Handshake, String), Failed> {
        // gs2-header = ("n" / "y" / "p=" name) "," [ "a=" name ] ","; binding ("p") is not offered.
        let mut parts = client_first.splitn(3, ',');
        let (flag, identity, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(flag @ ("n" | "y")), Some(""), Some(bare)) = (flag, identity, bare) else { return Err(Failed) };
        let mut attributes = bare.split(',');
        // The name is that of the startup message, as in PostgreSQL.
        let name = attributes.next().filter(|name| name.starts_with("n="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (Some(_), Some(nonce)) = (name, nonce) else { return Err(Failed) };
        if nonce.is_empty() || nonce.len() > NONCE_LENGTH_MAX || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failed);
        }
        let nonce = format!("{nonce}{own_nonce}");
        let server_first = format!("r={nonce},s={},i={}", base64::encode(&verifier.salt), verifier.iterations);
        let handshake = Handshake {
            verifier,
            header: format!("{flag},,"),
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((handshake, server_first))
    }

    /// Takes `client-final-message`; returns what to answer if its proof is right.
    pub fn finish(self, client_final: &str) -> Result<String, Failed> {
        let (without_proof, proof) = client_final.rsplit_once(",p=").ok_or(Failed)?;
        let expected = format!("c={},r={}", base64::encode(self.header.as_bytes()), self.nonce);
        let proof: Key = base64::decode(proof).and_then(|bytes| bytes.try_into().ok()).ok_or(Failed)?;
        if without_proof != expected {
            return Err(Failed);
        }
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = hmac(&self.verifier.stored_key, message.as_bytes());
        let client_key: Key = std::array::from_fn(|i| proof[i] ^ signature[i]);
        if !same(&Sha256::digest(client_key).into(), &self.verifier.stored_key) {
            return Err(Failed);
        }
        Ok(format!("v={}", base64::encode(&hmac(&self.verifier.server_key, message.as_bytes()))))
    }
}

/// Random text of 144 bits, for tokens and keys.
pub(crate) fn random_text() -> String {
    random_nonce()
}

fn hmac(key: &[u8], message: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Compares in the same time wherever the first difference is.
pub(crate) fn same(a: &Key, b: &Key) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OWN_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn verifier() -> Verifier {
        Verifier::with_salt("pencil", base64::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let (handshake, server_first) = Handshake::with_nonce(verifier(), CLIENT_FIRST, OWN_NONCE).unwrap();
        assert_eq!(server_first, SERVER_FIRST);
        assert_eq!(handshake.finish(CLIENT_FINAL).unwrap(), SERVER_FINAL);
    }

    #[test]
    fn anything_else_fails() {
        let begin = |verifier, first: &str| Handshake::with_nonce(verifier, first, OWN_NONCE);
        for first in [
            "",
            "n",
            "n,,",
            "p=tls-server-end-point,,n=user,r=abc",
            "n,a=root,n=user,r=abc",
            "n,,r=abc",
            "n,,n=user,r=",
        ] {
            assert!(begin(verifier(), first).is_err(), "{first}");
        }
        let other = Verifier::with_salt("Pencil", verifier().salt, 4096);
        assert_eq!(begin(other, CLIENT_FIRST).unwrap().0.finish(CLIENT_FINAL), Err(Failed));
        let nobody = Verifier::of_nobody(b"secret", "user");
        assert_eq!(begin(nobody, CLIENT_FIRST).unwrap().0.finish(CLIENT_FINAL), Err(Failed));
        for wrong in [
            "",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO",
            &CLIENT_FINAL.replace("c=biws", "c=eSws"),
            &CLIENT_FINAL.replace("r=rOpr", "r=rOpq"),
            &CLIENT_FINAL.replace("p=dHzb", "p=dHzc"),
            &CLIENT_FINAL.replace("p=dHzb", "p="),
        ] {
            let handshake = begin(verifier(), CLIENT_FIRST).unwrap().0;
            assert_eq!(handshake.finish(wrong), Err(Failed), "{wrong}");
        }
    }

    #[test]
    fn a_verifier_reads_as_it_is_written_and_holds_no_password() {
        let made = Verifier::of_password("correct horse");
        let text = made.to_string();
        assert_eq!(text.parse::<Verifier>().unwrap(), made);
        assert!(made.fits("correct horse") && !made.fits("correct hors"));
        assert_ne!(made, Verifier::of_password("correct horse"), "the salt is fresh");
        assert_eq!(format!("{made:?}"), "Verifier(..)");
        for wrong in [
            "",
            "plain",
            "SCRAM-SHA-256$1:QUJD$QUJD:QUJD",
            &text.replace("4096", "1"),
            &text.replace("4096", "9000000"),
        ] {
            assert!(wrong.parse::<Verifier>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_has_the_same_salt_at_every_try() {
        let salt = |name| Verifier::of_nobody(b"secret", name).salt;
        assert_eq!(salt("eve"), salt("eve"));
        assert_ne!(salt("eve"), salt("eva"));
    }
}
