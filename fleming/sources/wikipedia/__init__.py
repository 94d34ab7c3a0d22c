"""The discovery agent of paper 3.1, which walks Wikipedia: pages, their text, what it says, the walk."""
