// Copies of answers: under which name, and when a new one is made.
import crypto from 'crypto';

// A token is a secret, and a cache writes its keys to disk: so a hash of the whole of it.
function name(r) {
    const token = r.variables.tl_authorization || '';
    return crypto.createHash('sha256').update(token).digest('hex') + r.variables.request_uri;
}

// To write a file for each answer would cost more than the answer: a copy that is a few seconds old will do.
function zone(r) {
    const token = r.variables.tl_authorization;
    return token && ngx.shared.copied.add(token + r.variables.request_uri, '1') ? 'kept' : 'off';
}

export default {name, zone};
