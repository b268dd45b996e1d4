// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A wallet with code that does what anybody tells it and signs as its owner (ERC-1271). It can also tell of transfers
/// that never were. For tests alone.
contract TestPayer {
    struct Call {
        address target;
        uint256 value;
        bytes data;
    }

    event Transfer(address indexed from, address indexed to, uint256 value);

    address public owner;

    receive() external payable {}

    function setOwner(address owner_) external {
        owner = owner_;
    }

    function run(Call[] calldata calls) external payable {
        for (uint256 i; i < calls.length; ++i) {
            (bool done,) = calls[i].target.call{value: calls[i].value}(calls[i].data);
            require(done, "A call failed.");
        }
    }

    function tell(address from, address to, uint256 value) external {
        emit Transfer(from, to, value);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return 0xffffffff;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
