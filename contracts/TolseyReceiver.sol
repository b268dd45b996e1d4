// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Pays the chain's own coin on, and tells of it
/// @notice Anybody may call. All that comes with a call goes to the payee in the same call: there is nothing to own here, no
/// owner, no storage, no balance. A transfer of coin leaves no log; this one does, whoever sends it.
/// @dev A payee with code is called with all gas that is left, and may call back: there is nothing here that it could disturb.
contract TolseyReceiver {
    /// @notice `payer` has paid `amount` wei to `payee`, who has it.
    /// @param payer Who has called: an account, or a wallet with code.
    /// @param ref What the payer names: zero, or the tag of what is bought.
    event Paid(address indexed payer, address indexed payee, bytes32 indexed ref, uint256 amount);

    /// @notice Nothing was sent along.
    error NothingPaid();

    /// @notice The payee did not take it, and nothing was moved.
    error NotTaken();

    /// @notice Pays all that is sent along to `payee`.
    /// @param payee An account, or a contract that takes coin.
    /// @param ref Told in the event, and nothing else is done with it.
    function pay(address payee, bytes32 ref) external payable {
        if (msg.value == 0) revert NothingPaid();
        emit Paid(msg.sender, payee, ref, msg.value);
        (bool taken,) = payee.call{value: msg.value}("");
        if (!taken) revert NotTaken();
    }
}
