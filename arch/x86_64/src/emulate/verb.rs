//! What integer instructions do, apart from where they do it.

use super::alu::{Binary, Shift};
use iced_x86::Mnemonic;

/// What an instruction does, apart from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    /// The destination becomes the source.
    Move,
    /// The same, with the source's sign above it.
    MoveSigned,
    /// The same, bytes the other way round.
    MoveSwapped,
    /// Destination and source are computed on, and the result goes to the destination.
    Compute(Binary),
    /// Computed for the flags alone.
    Compare(Binary),
    Increment,
    Decrement,
    Negate,
    Not,
    Shift(Shift),
    Exchange,
    ExchangeAdd,
    CompareExchange,
    CompareExchange8,
    Bit(BitChange),
    SetIf(u8),
    MoveIf(u8),
    Multiply,
    /// A hint: cache lines, prefetching.
    Nothing,
}

/// What becomes of the bit that was tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BitChange {
    Keep,
    Set,
    Clear,
    Flip,
}

impl Verb {
    #[rustfmt::skip]
    pub(super) fn of(mnemonic: Mnemonic) -> Option<Self> {
        use Mnemonic as M;
        Some(match mnemonic {
            M::Mov | M::Movnti | M::Movzx => Self::Move,
            M::Movsx | M::Movsxd          => Self::MoveSigned,
            M::Movbe                      => Self::MoveSwapped,
            M::Add  => Self::Compute(Binary::Add),
            M::Adc  => Self::Compute(Binary::AddCarry),
            M::Sub  => Self::Compute(Binary::Sub),
            M::Sbb  => Self::Compute(Binary::SubBorrow),
            M::And  => Self::Compute(Binary::And),
            M::Or   => Self::Compute(Binary::Or),
            M::Xor  => Self::Compute(Binary::Xor),
            M::Cmp  => Self::Compare(Binary::Sub),
            M::Test => Self::Compare(Binary::And),
            M::Inc  => Self::Increment,
            M::Dec  => Self::Decrement,
            M::Neg  => Self::Negate,
            M::Not  => Self::Not,
            M::Shl | M::Sal => Self::Shift(Shift::Left),
            M::Shr  => Self::Shift(Shift::Right),
            M::Sar  => Self::Shift(Shift::RightSigned),
            M::Rol  => Self::Shift(Shift::RotateLeft),
            M::Ror  => Self::Shift(Shift::RotateRight),
            M::Xchg => Self::Exchange,
            M::Xadd => Self::ExchangeAdd,
            M::Cmpxchg   => Self::CompareExchange,
            M::Cmpxchg8b => Self::CompareExchange8,
            M::Bt   => Self::Bit(BitChange::Keep),
            M::Bts  => Self::Bit(BitChange::Set),
            M::Btr  => Self::Bit(BitChange::Clear),
            M::Btc  => Self::Bit(BitChange::Flip),
            M::Imul => Self::Multiply,
            M::Seto  => Self::SetIf(0),  M::Setno => Self::SetIf(1),
            M::Setb  => Self::SetIf(2),  M::Setae => Self::SetIf(3),
            M::Sete  => Self::SetIf(4),  M::Setne => Self::SetIf(5),
            M::Setbe => Self::SetIf(6),  M::Seta  => Self::SetIf(7),
            M::Sets  => Self::SetIf(8),  M::Setns => Self::SetIf(9),
            M::Setp  => Self::SetIf(10), M::Setnp => Self::SetIf(11),
            M::Setl  => Self::SetIf(12), M::Setge => Self::SetIf(13),
            M::Setle => Self::SetIf(14), M::Setg  => Self::SetIf(15),
            M::Cmovo  => Self::MoveIf(0),  M::Cmovno => Self::MoveIf(1),
            M::Cmovb  => Self::MoveIf(2),  M::Cmovae => Self::MoveIf(3),
            M::Cmove  => Self::MoveIf(4),  M::Cmovne => Self::MoveIf(5),
            M::Cmovbe => Self::MoveIf(6),  M::Cmova  => Self::MoveIf(7),
            M::Cmovs  => Self::MoveIf(8),  M::Cmovns => Self::MoveIf(9),
            M::Cmovp  => Self::MoveIf(10), M::Cmovnp => Self::MoveIf(11),
            M::Cmovl  => Self::MoveIf(12), M::Cmovge => Self::MoveIf(13),
            M::Cmovle => Self::MoveIf(14), M::Cmovg  => Self::MoveIf(15),
            M::Nop | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchnta | M::Prefetchw | M::Prefetch
                | M::Prefetchwt1 | M::Clflush | M::Clflushopt | M::Clwb => Self::Nothing,
            _ => return None,
        })
    }

    /// Whether it writes its first operand.
    pub(super) const fn writes(self) -> bool {
        !matches!(
            self,
            Self::Compare(_) | Self::Bit(BitChange::Keep) | Self::Nothing
        )
    }
}
