// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A payment that its payer has signed (EIP-3009). Everything has its full width, so whatever a token takes fits.
struct Authorization {
    address token;
    address from;
    address to;
    uint256 value;
    uint256 validAfter;
    uint256 validBefore;
    bytes32 nonce;
    /// 65 bytes (r, s, v) go to the token as `v, r, s`; any other length goes as it is, for wallets (ERC-1271).
    bytes signature;
}

/// @title Many signed payments in one transaction, none of which can stop another
/// @notice Anybody may call. Money goes from each payer straight to the payee that the payer has signed for, so there is
/// nothing to own here: no owner, no approvals, no storage, no ether, no balance.
/// @dev The events say what became of the calls, and that is not what became of the money: whoever calls chooses the
/// tokens, and a token may do nothing and not revert. The token's own `AuthorizationUsed` and `Transfer` are the evidence.
contract TolseyBatcher {
    /// @notice The token took the authorization without a complaint.
    event Settled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice The token refused it, or ran out of its gas.
    /// @param reason What the token reverted with, at most REASON_BYTES_MAX of it; empty when its gas ran out.
    event Failed(address indexed authorizer, bytes32 indexed nonce, bytes reason);

    /// @notice There was not enough gas to give the next item its whole share. It and those after it were not touched.
    /// @param next The index of the first that was not touched.
    event Stopped(uint256 next);

    /// @notice `gasEach` is too small for any payment, or so large that it protects nobody.
    error GasEachOutOfBounds(uint256 least, uint256 most);

    /// @notice The answer has one bit for each item.
    error TooManyItems(uint256 most);

    /// @notice Least gas for one item: two balances, a nonce and a signature check cannot take less.
    uint256 public constant GAS_EACH_MIN = 40_000;

    /// @notice Most gas for one item. Wallets that take more go alone.
    uint256 public constant GAS_EACH_MAX = 1_000_000;

    /// @notice Most items of one batch.
    uint256 public constant ITEMS_MAX = 256;

    /// @notice Most bytes of a token's revert data that are told: an `Error(string)` of up to 64 characters.
    uint256 public constant REASON_BYTES_MAX = 132;

    /// @notice Gas that an item may take beside its call: the first touch of a token, an event, and the end of the batch.
    uint256 public constant GAS_RESERVED = 16_000;

    /// @dev `transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)`
    uint256 private constant BY_VRS = 0xe3ee160e;

    /// @dev `transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)`
    uint256 private constant BY_BYTES = 0xcf092995;

    /// @notice Settles each authorization with at most `gasEach` gas. Exactly one event is told of each, in their order,
    /// up to `Stopped`.
    /// @dev An estimate of the gas is worth nothing here, as this ends well with any. What always suffices is written in
    /// the README beside this file.
    /// @param authorizations At most ITEMS_MAX.
    /// @param gasEach Between GAS_EACH_MIN and GAS_EACH_MAX.
    /// @return settled Bit i is set when item i was settled, for those who only simulate.
    function settle(Authorization[] calldata authorizations, uint256 gasEach) external returns (uint256 settled) {
        if (gasEach < GAS_EACH_MIN || gasEach > GAS_EACH_MAX) revert GasEachOutOfBounds(GAS_EACH_MIN, GAS_EACH_MAX);
        uint256 count = authorizations.length;
        if (count > ITEMS_MAX) revert TooManyItems(ITEMS_MAX);
        // A call gets at most 63 of 64 parts of what is left (EIP-150), whatever it was promised.
        uint256 needed = gasEach + gasEach / 63 + GAS_RESERVED;
        for (uint256 i; i < count; ++i) {
            Authorization calldata item = authorizations[i];
            bytes calldata signature = item.signature;
            // Beyond the reserve, a long signature costs less than a gas a byte to hand on.
            if (gasleft() < needed + signature.length) {
                emit Stopped(i);
                break;
            }
            if (_transfer(item, signature, gasEach)) {
                settled |= 1 << i;
                emit Settled(item.from, item.nonce);
            } else {
                emit Failed(item.from, item.nonce, _reason());
            }
        }
    }

    /// @dev Calls the token. Nothing that it returns is copied but one word, so that a long answer costs the token's gas
    /// and not ours. False also when the token has no code, or says false in so many words.
    function _transfer(Authorization calldata item, bytes calldata signature, uint256 gasEach)
        private
        returns (bool done)
    {
        address token = item.token;
        assembly ("memory-safe") {
            // Written behind all that is allocated, and forgotten: each item uses the same place.
            let data := mload(0x40)
            let size := 292
            switch signature.length
            case 65 {
                mstore(data, shl(224, BY_VRS))
                mstore(add(data, 196), byte(0, calldataload(add(signature.offset, 64))))
                calldatacopy(add(data, 228), signature.offset, 64)
            }
            default {
                mstore(data, shl(224, BY_BYTES))
                mstore(add(data, 196), 224)
                mstore(add(data, 228), signature.length)
                mstore(add(add(data, 260), signature.length), 0)
                calldatacopy(add(data, 260), signature.offset, signature.length)
                size := add(260, and(add(signature.length, 31), not(31)))
            }
            // From `from` to `nonce` an item has the words that the token wants, in its order.
            calldatacopy(add(data, 4), add(item, 32), 192)
            mstore(0, 1)
            done := call(gasEach, token, 0, data, size, 0, 32)
            if done { done := and(gt(extcodesize(token), 0), gt(mload(0), 0)) }
        }
    }

    /// @dev The beginning of what the last call answered.
    function _reason() private pure returns (bytes memory reason) {
        uint256 most = REASON_BYTES_MAX;
        assembly ("memory-safe") {
            let length := returndatasize()
            if gt(length, most) { length := most }
            reason := mload(0x40)
            mstore(reason, length)
            returndatacopy(add(reason, 32), 0, length)
            mstore(0x40, add(reason, and(add(length, 63), not(31))))
        }
    }
}
