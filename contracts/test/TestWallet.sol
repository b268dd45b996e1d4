// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A payer with code (ERC-1271), honest until it is told otherwise. For tests alone: it takes any signature.
contract TestWallet {
    enum Mode {
        Honest,
        Deny,
        BurnGas,
        LongAnswer,
        LongRevert,
        CallBack,
        WorkHard
    }

    /// @dev As long as 100,000 gas can pay for.
    uint256 private constant LONG_BYTES = 150_000;

    Mode public mode;
    address public target;
    bytes public data;

    function set(Mode mode_, address target_, bytes calldata data_) external {
        (mode, target, data) = (mode_, target_, data_);
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        if (mode == Mode.Deny) return 0xffffffff;
        if (mode == Mode.BurnGas) while (true) {}
        if (mode == Mode.LongAnswer) {
            assembly {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, LONG_BYTES)
            }
        }
        if (mode == Mode.LongRevert) {
            assembly {
                revert(0, LONG_BYTES)
            }
        }
        // Says yes, whatever came of it. The call takes all its gas when it fails.
        if (mode == Mode.CallBack) target.staticcall{gas: 100_000}(data);
        // Honest, but no cheaper.
        if (mode == Mode.WorkHard) {
            uint256 end = gasleft() - 850_000;
            while (gasleft() > end) {}
        }
        return 0x1626ba7e;
    }
}
