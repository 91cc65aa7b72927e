//! `io/xs_wire.h`: messages to and from xenstore, and the page they travel in.

constants! {
    u32 {
        /// Commands to the daemon.
        XS_CONTROL = 0;
        /// The first name of [`XS_CONTROL`].
        XS_DEBUG = XS_CONTROL;
        /// Lists the children of a node.
        XS_DIRECTORY = 1;
        /// Reads a node.
        XS_READ = 2;
        /// Reads who may use a node.
        XS_GET_PERMS = 3;
        /// Watches a node and all below it.
        XS_WATCH = 4;
        /// Ends that.
        XS_UNWATCH = 5;
        /// Begins a transaction.
        XS_TRANSACTION_START = 6;
        /// Ends it.
        XS_TRANSACTION_END = 7;
        /// Begins to serve a domain.
        XS_INTRODUCE = 8;
        /// Ends that.
        XS_RELEASE = 9;
        /// Asks for the home of a domain.
        XS_GET_DOMAIN_PATH = 10;
        /// Writes a node.
        XS_WRITE = 11;
        /// Makes a node.
        XS_MKDIR = 12;
        /// Removes a node and all below it.
        XS_RM = 13;
        /// Sets who may use a node.
        XS_SET_PERMS = 14;
        /// A watched node changed. From the daemon only.
        XS_WATCH_EVENT = 15;
        /// A request failed. From the daemon only.
        XS_ERROR = 16;
        /// Asks whether a domain is served.
        XS_IS_DOMAIN_INTRODUCED = 17;
        /// A domain goes on after being suspended.
        XS_RESUME = 18;
        /// Gives a domain the rights of another.
        XS_SET_TARGET = 19;
        /// Forgets all watches and transactions of the caller.
        XS_RESET_WATCHES = 21;
        /// Lists the children of a node, in parts.
        XS_DIRECTORY_PART = 22;
        /// One more than the highest of these.
        XS_TYPE_COUNT = 23;
        /// No message.
        XS_INVALID = 0xffff;

        /// Index in a watch event: the path.
        XS_WATCH_PATH = 0;
        /// Index in a watch event: the token.
        XS_WATCH_TOKEN = 1;

        /// Most bytes of a message behind its header.
        XENSTORE_PAYLOAD_MAX = 4096;
        /// Most bytes of a path from the root, without the ending zero.
        XENSTORE_ABS_PATH_MAX = 3072;
        /// Most bytes of a path from the caller's home, without the ending zero.
        XENSTORE_REL_PATH_MAX = 2048;

        /// State of the connection: working.
        XENSTORE_CONNECTED = 0;
        /// State of the connection: the guest asked for a new one.
        XENSTORE_RECONNECT = 1;

        /// No error.
        XENSTORE_ERROR_NONE = 0;
        /// Communication failed.
        XENSTORE_ERROR_COMM = 1;
        /// An index of the rings makes no sense.
        XENSTORE_ERROR_RINGIDX = 2;
        /// A message makes no sense.
        XENSTORE_ERROR_PROTO = 3;
    }
    usize {
        /// Bytes of each ring.
        XENSTORE_RING_SIZE = 1024;
    }
}

flags! {
    /// What the daemon can do.
    struct ServerFeatures: u32 {
        /// Take a new connection on the same page.
        RECONNECTION = 1, "XENSTORE_SERVER_FEATURE_RECONNECTION";
        /// Say in the page what went wrong.
        ERROR = 2, "XENSTORE_SERVER_FEATURE_ERROR";
    }
}

layouts! {
    /// Head of a message.
    struct SockMsg = "xsd_sockmsg" {
        /// `XS_*`.
        kind: u32 = "type",
        /// Chosen by who asks; comes back in the answer.
        req_id: u32,
        /// The transaction; 0 for none.
        tx_id: u32,
        /// Bytes that follow.
        len: u32,
    }

    /// The xenstore page. Indexes only grow, modulo 2^32.
    struct DomainInterface = "xenstore_domain_interface" {
        /// Bytes from the guest.
        req: [u8; XENSTORE_RING_SIZE],
        /// Bytes to the guest.
        rsp: [u8; XENSTORE_RING_SIZE],
        /// How far requests were taken.
        req_cons: u32,
        /// How far the guest has written.
        req_prod: u32,
        /// How far the guest has read.
        rsp_cons: u32,
        /// How far answers are written.
        rsp_prod: u32,
        /// [`ServerFeatures`].
        server_features: u32,
        /// `XENSTORE_CONNECTED` or `XENSTORE_RECONNECT`.
        connection: u32,
        /// `XENSTORE_ERROR_*`.
        error: u32,
    }
}
