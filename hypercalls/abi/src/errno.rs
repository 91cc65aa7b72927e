//! `errno.h`: the numbers by which a hypercall fails. A guest sees them negated.
//!
//! Only `hypercalls/src/errno.rs` may turn a meaning into one of these.

constants! {
    i32 {
        /// The caller may not do this.
        EPERM = 1, "XEN_EPERM";
        /// What was named does not exist.
        ENOENT = 2, "XEN_ENOENT";
        /// No such domain.
        ESRCH = 3, "XEN_ESRCH";
        /// Input or output failed.
        EIO = 5, "XEN_EIO";
        /// No such device or address.
        ENXIO = 6, "XEN_ENXIO";
        /// An argument list is too long.
        E2BIG = 7, "XEN_E2BIG";
        /// Not something that can be executed.
        ENOEXEC = 8, "XEN_ENOEXEC";
        /// A bad descriptor.
        EBADF = 9, "XEN_EBADF";
        /// No child.
        ECHILD = 10, "XEN_ECHILD";
        /// Try again.
        EAGAIN = 11, "XEN_EAGAIN";
        /// The same number as [`EAGAIN`].
        EWOULDBLOCK = 11, "XEN_EWOULDBLOCK";
        /// Out of memory.
        ENOMEM = 12, "XEN_ENOMEM";
        /// The object does not allow this; also: interface version mismatch.
        EACCES = 13, "XEN_EACCES";
        /// A guest pointer does not lead to usable memory.
        EFAULT = 14, "XEN_EFAULT";
        /// The object is in use.
        EBUSY = 16, "XEN_EBUSY";
        /// The object exists already.
        EEXIST = 17, "XEN_EEXIST";
        /// A link across devices.
        EXDEV = 18, "XEN_EXDEV";
        /// No such device.
        ENODEV = 19, "XEN_ENODEV";
        /// Not a directory.
        ENOTDIR = 20, "XEN_ENOTDIR";
        /// A directory.
        EISDIR = 21, "XEN_EISDIR";
        /// An argument makes no sense.
        EINVAL = 22, "XEN_EINVAL";
        /// The file table is full.
        ENFILE = 23, "XEN_ENFILE";
        /// Too many open files.
        EMFILE = 24, "XEN_EMFILE";
        /// No room left: ports, table entries, disk.
        ENOSPC = 28, "XEN_ENOSPC";
        /// Not writable.
        EROFS = 30, "XEN_EROFS";
        /// Too many links.
        EMLINK = 31, "XEN_EMLINK";
        /// An argument outside the domain of the function.
        EDOM = 33, "XEN_EDOM";
        /// A result that cannot be represented, or a number out of range.
        ERANGE = 34, "XEN_ERANGE";
        /// Waiting would never end.
        EDEADLK = 35, "XEN_EDEADLK";
        /// The same number as [`EDEADLK`].
        EDEADLOCK = 35, "XEN_EDEADLOCK";
        /// A name is too long.
        ENAMETOOLONG = 36, "XEN_ENAMETOOLONG";
        /// No locks left.
        ENOLCK = 37, "XEN_ENOLCK";
        /// No such hypercall or sub-operation.
        ENOSYS = 38, "XEN_ENOSYS";
        /// A directory that is not empty.
        ENOTEMPTY = 39, "XEN_ENOTEMPTY";
        /// No data.
        ENODATA = 61, "XEN_ENODATA";
        /// The time is past or has run out.
        ETIME = 62, "XEN_ETIME";
        /// A malformed message.
        EBADMSG = 74, "XEN_EBADMSG";
        /// A value too large for its type.
        EOVERFLOW = 75, "XEN_EOVERFLOW";
        /// An illegal byte sequence.
        EILSEQ = 84, "XEN_EILSEQ";
        /// Not a socket.
        ENOTSOCK = 88, "XEN_ENOTSOCK";
        /// A message is too long.
        EMSGSIZE = 90, "XEN_EMSGSIZE";
        /// Known, but not supported here.
        EOPNOTSUPP = 95, "XEN_EOPNOTSUPP";
        /// The address is in use.
        EADDRINUSE = 98, "XEN_EADDRINUSE";
        /// The address is not available.
        EADDRNOTAVAIL = 99, "XEN_EADDRNOTAVAIL";
        /// No buffer space, or a buffer too small.
        ENOBUFS = 105, "XEN_ENOBUFS";
        /// Connected already.
        EISCONN = 106, "XEN_EISCONN";
        /// Not connected.
        ENOTCONN = 107, "XEN_ENOTCONN";
        /// Nobody answered in time.
        ETIMEDOUT = 110, "XEN_ETIMEDOUT";
        /// The other end refused.
        ECONNREFUSED = 111, "XEN_ECONNREFUSED";
    }
}
