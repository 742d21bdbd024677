"""One repository's metadata in the other one's place."""

from tests.attacks.board import Board, unpacked


def test_the_images_is_not_the_directors(board: Board) -> None:
    new = unpacked(board.honest())
    swapped = {
        f"director/{name.partition('/')[2]}": data for name, data in new.items() if name.startswith("image/")
    }
    assert board.refused(board.signer.bundle(new | swapped)) == "wrong-device"
    board.passes()


def test_nor_the_directors_the_images(board: Board) -> None:
    new = unpacked(board.honest())
    own = {name: data for name, data in new.items() if name.startswith("director/")}
    swapped = {f"image/{name.partition('/')[2]}": data for name, data in own.items() if "assignment" not in name}
    assert board.refused(board.signer.bundle(own | swapped)) == "not-signed"
    board.passes()
