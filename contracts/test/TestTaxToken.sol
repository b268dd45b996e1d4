// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @notice A token that keeps a part of what is moved, or calls back in the middle of it, or answers false. For tests alone.
contract TestTaxToken {
    mapping(address => uint256) public balanceOf;
    uint256 public tax;
    bool public lies;
    address public target;
    bytes public data;

    function set(uint256 tax_, bool lies_, address target_, bytes calldata data_) external {
        (tax, lies, target, data) = (tax_, lies_, target_, data_);
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (target != address(0)) {
            (bool done, bytes memory said) = target.call(data);
            if (!done) {
                assembly {
                    revert(add(said, 32), mload(said))
                }
            }
        }
        if (lies) return false;
        balanceOf[from] -= amount;
        balanceOf[to] += amount - tax;
        return true;
    }
}
