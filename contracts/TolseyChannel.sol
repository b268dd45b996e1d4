// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title One-way payment channels in ERC-20 tokens
/// @notice A payer deposits and signs vouchers: sums over all time that the payee may collect. What no voucher promises goes
/// back to the payer, at once when the payee closes, or by the payer alone after a time of grace. There is no owner, no fee, no
/// upgrade, and nobody else who can move anything.
/// @dev The interface is that of draft-evm-session-00, with three narrowings. Deposits by EIP-3009 are received by
/// `receiveWithAuthorization`, which only this contract can submit: by `transferWithAuthorization` anybody could bring the money
/// here without a channel. The nonce of such an authorization commits to the channel (`depositNonce`), so that nobody can open
/// another one with it. And splits are not supported.
contract TolseyChannel {
    /// @notice A channel as it stands.
    struct Channel {
        address payer;
        /// @notice When the payer asked for its end, in seconds; zero if he has not.
        uint64 closeRequestedAt;
        bool finalized;
        address payee;
        address token;
        /// @notice Who signs vouchers; zero for the payer himself.
        address authorizedSigner;
        uint128 deposit;
        uint128 settled;
    }

    /// @notice `payer` has deposited for `payee`.
    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        address token,
        address authorizedSigner,
        bytes32 salt,
        uint128 deposit
    );

    /// @notice The payer has deposited more; `newDeposit` is all that was ever deposited.
    event TopUp(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint128 additionalDeposit,
        uint128 newDeposit
    );

    /// @notice The payee has collected `deltaPaid`, and `settled` in all.
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint128 deltaPaid,
        uint128 settled
    );

    /// @notice The payer wants the channel to end; from `withdrawableAt` on he can withdraw.
    event CloseRequested(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint64 withdrawableAt
    );

    /// @notice The payer has deposited more and does not want it to end any more.
    event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);

    /// @notice The channel has ended: `settled` went to the payee in all, and `refunded` back to the payer.
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint128 settled,
        uint128 refunded
    );

    /// @notice There is a channel of this id already.
    error ChannelExists();
    /// @notice There is no channel of this id.
    error ChannelNotFound();
    /// @notice The channel has ended.
    error ChannelFinalized();
    /// @notice Only the payee may do this.
    error NotPayee();
    /// @notice Only the payer may do this.
    error NotPayer();
    /// @notice The payer has not asked for the end, or not long enough ago.
    error GraceRunning();
    /// @notice Nobody is to be paid.
    error PayeeInvalid();
    /// @notice Nothing is to be deposited.
    error DepositInvalid();
    /// @notice Splits are not supported.
    error SplitsUnsupported();
    /// @notice The nonce of the authorization does not name this deposit.
    error NonceMismatch();
    /// @notice The voucher promises no more than was collected before.
    error AmountNotIncreased();
    /// @notice The voucher promises more than was deposited.
    error AmountExceedsDeposit();
    /// @notice The signature is not one of 65 bytes with `v` of 27 or 28 and `s` in the lower half.
    error SignatureMalformed();
    /// @notice Somebody else has signed.
    error SignerMismatch();
    /// @notice The token did not move what it was asked to move.
    error TransferFailed();
    /// @notice The token has called back.
    error Reentered();

    /// @notice How long the payee has to collect once the payer wants the end, in seconds.
    uint64 public constant CLOSE_GRACE_PERIOD = 15 minutes;

    /// @dev `Voucher(bytes32 channelId,uint128 cumulativeAmount)`, hashed.
    bytes32 private constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    /// @dev Half the order of secp256k1.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(bytes32 channelId => Channel) private channels;

    bool private transient entered;

    modifier alone() {
        if (entered) revert Reentered();
        entered = true;
        _;
        entered = false;
    }

    /// @notice Opens a channel out of the caller's own tokens, which he has approved.
    function open(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        address[] calldata splitRecipients,
        uint16[] calldata splitBps
    ) external alone returns (bytes32 channelId) {
        _noSplits(splitRecipients, splitBps);
        channelId = _make(msg.sender, payee, token, deposit, salt, authorizedSigner);
        _pull(token, msg.sender, deposit);
    }

    /// @notice Opens a channel for `from`, who has signed a `ReceiveWithAuthorization` to this contract whose nonce is
    /// `depositNonce(channelId, 0)`. Anybody may submit it.
    function openWithAuthorization(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        address from,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s,
        address[] calldata splitRecipients,
        uint16[] calldata splitBps
    ) external alone returns (bytes32 channelId) {
        _noSplits(splitRecipients, splitBps);
        channelId = _make(from, payee, token, deposit, salt, authorizedSigner);
        if (nonce != depositNonce(channelId, 0)) revert NonceMismatch();
        _receive(token, from, deposit, validAfter, validBefore, nonce, v, r, s);
    }

    /// @notice Deposits more, out of the payer's own tokens, which he has approved.
    function topUp(bytes32 channelId, uint128 additionalDeposit) external alone {
        Channel storage channel = _standing(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        _add(channelId, channel, additionalDeposit);
        _pull(channel.token, msg.sender, additionalDeposit);
    }

    /// @notice Deposits more for the payer, who has signed a `ReceiveWithAuthorization` to this contract whose nonce is
    /// `depositNonce(channelId, deposit)` with what was deposited before. Anybody may submit it.
    function topUpWithAuthorization(
        bytes32 channelId,
        uint128 additionalDeposit,
        address from,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external alone {
        Channel storage channel = _standing(channelId);
        if (from != channel.payer) revert NotPayer();
        if (nonce != depositNonce(channelId, channel.deposit)) revert NonceMismatch();
        _add(channelId, channel, additionalDeposit);
        _receive(channel.token, from, additionalDeposit, validAfter, validBefore, nonce, v, r, s);
    }

    /// @notice Collects what the voucher promises beyond what was collected before.
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external alone {
        Channel storage channel = _standing(channelId);
        if (cumulativeAmount <= channel.settled) revert AmountNotIncreased();
        uint128 delta = _take(channelId, channel, cumulativeAmount, signature);
        emit Settled(channelId, channel.payer, channel.payee, delta, cumulativeAmount);
        _send(channel.token, channel.payee, delta);
    }

    /// @notice Collects what the voucher promises, and gives the rest back to the payer.
    /// @param cumulativeAmount No less than was collected before.
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external alone {
        Channel storage channel = _standing(channelId);
        if (cumulativeAmount < channel.settled) revert AmountNotIncreased();
        uint128 delta = _take(channelId, channel, cumulativeAmount, signature);
        uint128 rest = _end(channelId, channel);
        if (delta > 0) _send(channel.token, channel.payee, delta);
        if (rest > 0) _send(channel.token, channel.payer, rest);
    }

    /// @notice Asks for the end. Asked again, the time still counts from the first.
    function requestClose(bytes32 channelId) external {
        Channel storage channel = _standing(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        if (channel.closeRequestedAt != 0) return;
        uint64 at = uint64(block.timestamp);
        channel.closeRequestedAt = at;
        emit CloseRequested(channelId, channel.payer, channel.payee, at + CLOSE_GRACE_PERIOD);
    }

    /// @notice Takes back what was not collected, once the grace is over.
    function withdraw(bytes32 channelId) external alone {
        Channel storage channel = _standing(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        uint64 at = channel.closeRequestedAt;
        if (at == 0 || block.timestamp < at + CLOSE_GRACE_PERIOD) revert GraceRunning();
        uint128 rest = _end(channelId, channel);
        if (rest > 0) _send(channel.token, channel.payer, rest);
    }

    /// @notice A channel as it stands; all zero if there is none.
    function getChannel(bytes32 channelId) external view returns (Channel memory) {
        return channels[channelId];
    }

    /// @notice The id of a channel, whether it is open or not.
    function computeChannelId(address payer, address payee, address token, bytes32 salt, address authorizedSigner)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, address(this), block.chainid));
    }

    /// @notice The nonce by which a deposit is authorized: it commits to the channel, and so to its payee, signer and salt, and
    /// to what was deposited before, so that what is signed twice is taken once.
    function depositNonce(bytes32 channelId, uint128 depositBefore) public pure returns (bytes32) {
        return keccak256(abi.encode(channelId, depositBefore));
    }

    /// @notice The domain of vouchers (EIP-712).
    function domainSeparator() public view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("EVM Payment Channel"), keccak256("1"), block.chainid, address(this))
        );
    }

    function _noSplits(address[] calldata recipients, uint16[] calldata bps) private pure {
        if (recipients.length != 0 || bps.length != 0) revert SplitsUnsupported();
    }

    function _standing(bytes32 channelId) private view returns (Channel storage channel) {
        channel = channels[channelId];
        if (channel.payer == address(0)) revert ChannelNotFound();
        if (channel.finalized) revert ChannelFinalized();
    }

    function _make(
        address payer,
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner
    ) private returns (bytes32 channelId) {
        // Without a payer there is no channel: a token that lets nobody pay must not make one.
        if (payee == address(0) || payer == address(0)) revert PayeeInvalid();
        if (deposit == 0) revert DepositInvalid();
        channelId = computeChannelId(payer, payee, token, salt, authorizedSigner);
        Channel storage channel = channels[channelId];
        if (channel.payer != address(0)) revert ChannelExists();
        channel.payer = payer;
        channel.payee = payee;
        channel.token = token;
        channel.authorizedSigner = authorizedSigner;
        channel.deposit = deposit;
        emit ChannelOpened(channelId, payer, payee, token, authorizedSigner, salt, deposit);
    }

    function _add(bytes32 channelId, Channel storage channel, uint128 amount) private {
        if (amount == 0) revert DepositInvalid();
        uint128 deposit = channel.deposit + amount;
        channel.deposit = deposit;
        emit TopUp(channelId, channel.payer, channel.payee, amount, deposit);
        if (channel.closeRequestedAt == 0) return;
        channel.closeRequestedAt = 0;
        emit CloseRequestCancelled(channelId, channel.payer, channel.payee);
    }

    /// @dev Checks who calls and what was signed, and counts it as collected.
    function _take(bytes32 channelId, Channel storage channel, uint128 cumulativeAmount, bytes calldata signature)
        private
        returns (uint128 delta)
    {
        if (msg.sender != channel.payee) revert NotPayee();
        if (cumulativeAmount > channel.deposit) revert AmountExceedsDeposit();
        address signer = channel.authorizedSigner;
        if (signer == address(0)) signer = channel.payer;
        if (_signer(channelId, cumulativeAmount, signature) != signer) revert SignerMismatch();
        delta = cumulativeAmount - channel.settled;
        channel.settled = cumulativeAmount;
    }

    function _end(bytes32 channelId, Channel storage channel) private returns (uint128 rest) {
        channel.finalized = true;
        rest = channel.deposit - channel.settled;
        emit ChannelClosed(channelId, channel.payer, channel.payee, channel.settled, rest);
    }

    function _signer(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature)
        private
        view
        returns (address signer)
    {
        if (signature.length != 65) revert SignatureMalformed();
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > S_MAX || (v != 27 && v != 28)) revert SignatureMalformed();
        bytes32 struct_ = keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, cumulativeAmount));
        signer = ecrecover(keccak256(abi.encodePacked(hex"1901", domainSeparator(), struct_)), v, r, s);
        if (signer == address(0)) revert SignatureMalformed();
    }

    /// @dev What comes is measured: a token that keeps a part of it would leave the channel uncovered.
    function _pull(address token, address from, uint128 amount) private {
        uint256 before = _balance(token);
        _call(token, abi.encodeWithSelector(0x23b872dd, from, address(this), amount));
        if (_balance(token) != before + amount) revert TransferFailed();
    }

    function _receive(
        address token,
        address from,
        uint128 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private {
        uint256 before = _balance(token);
        _call(
            token,
            abi.encodeWithSelector(
                // receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)
                0xef55bec6, from, address(this), amount, validAfter, validBefore, nonce, v, r, s
            )
        );
        if (_balance(token) != before + amount) revert TransferFailed();
    }

    function _send(address token, address to, uint128 amount) private {
        _call(token, abi.encodeWithSelector(0xa9059cbb, to, amount));
    }

    function _balance(address token) private view returns (uint256) {
        (bool ok, bytes memory said) = token.staticcall(abi.encodeWithSelector(0x70a08231, address(this)));
        if (!ok || said.length < 32) revert TransferFailed();
        return abi.decode(said, (uint256));
    }

    /// @dev Tokens answer true, or nothing at all. What a refusal says is passed on.
    function _call(address token, bytes memory data) private {
        (bool ok, bytes memory said) = token.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(said, 32), mload(said))
            }
        }
        if (said.length == 0 ? token.code.length == 0 : !abi.decode(said, (bool))) revert TransferFailed();
    }
}
