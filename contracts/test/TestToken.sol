// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A token that moves nothing, and answers every call as it was told to. For tests alone.
contract TestToken {
    enum Mode {
        SayNothing,
        SayFalse,
        SayTrue,
        BurnGas,
        BurnAndRevert,
        LongAnswer,
        LongRevert,
        CallBack
    }

    /// @dev As long as 100,000 gas can pay for.
    uint256 private constant LONG_BYTES = 150_000;

    Mode public mode;
    address public target;
    bytes public data;

    function set(Mode mode_, address target_, bytes calldata data_) external {
        (mode, target, data) = (mode_, target_, data_);
    }

    fallback() external {
        Mode now_ = mode;
        if (now_ == Mode.BurnGas) while (true) {}
        if (now_ == Mode.BurnAndRevert) while (gasleft() > 1_000) {}
        bool callBack = now_ == Mode.CallBack;
        if (callBack) {
            (bool done,) = target.call(data);
            require(done, "The call back failed.");
        }
        assembly {
            mstore(0, eq(now_, 2))
            switch now_
            case 1 { return(0, 32) }
            case 2 { return(0, 32) }
            case 4 { revert(0, 1024) }
            case 5 {
                mstore(0, 1)
                return(0, LONG_BYTES)
            }
            case 6 { revert(0, LONG_BYTES) }
            default { return(0, 0) }
        }
    }
}
